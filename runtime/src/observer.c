#include "observer.h"

#include "areas.h"
#include "state.h"

enum { LINE_SIZE = 1024 + PATH_SIZE, UNIX_FAMILY = 1, STREAM = 1 };

struct unix_address {
    u16 family;
    char path[108];
};

/* Not on the stack: at exit that may be a small alternate one. Owned by whoever holds the lock. */
static char line[LINE_SIZE] BEHIND;

static size_t append_json(size_t at, const char *key, u64 value) {
    at = append(line, at, LINE_SIZE, ",\"");
    at = append(line, at, LINE_SIZE, key);
    at = append(line, at, LINE_SIZE, "\":");
    return append_number(line, at, LINE_SIZE, value);
}

/* JSON string contents: quotes, backslashes and control bytes are replaced, a path needs no more. */
static size_t append_path(size_t at, const char *path) {
    for (; *path && at + 1 < LINE_SIZE; path++)
        line[at++] = *path == '"' || *path == '\\' || (u8)*path < ' ' ? '?' : *path;
    line[at] = 0;
    return at;
}

static size_t begin_line(void) {
    size_t at = append(line, 0, LINE_SIZE, "{\"pid\":");
    at = append_number(line, at, LINE_SIZE, (u64)SYS0(__NR_getpid));
    at = append(line, at, LINE_SIZE, ",\"exe\":\"");
    at = append_path(at, state.program);
    return append(line, at, LINE_SIZE, "\"");
}

static long connect_to_observer(void) {
    struct unix_address address = {.family = UNIX_FAMILY};
    copy_bounded(address.path, sizeof address.path, state.checkpoint);
    long fd = SYS3(__NR_socket, UNIX_FAMILY, STREAM | CLOSE_ON_EXEC, 0);
    if (failed(fd)) return fd;
    long error = SYS3(__NR_connect, fd, &address, sizeof address);
    if (!failed(error)) return fd;
    SYS1(__NR_close, fd);
    return error;
}

void observer_checkpoint(const char *where) {
    char answer;
    if (!state.checkpoint[0]) return;
    long fd = connect_to_observer();
    if (failed(fd)) return;
    size_t at = begin_line();
    at = append(line, at, LINE_SIZE, ",\"at\":\"");
    at = append(line, at, LINE_SIZE, where);
    at = append(line, at, LINE_SIZE, "\"}\n");
    SYS3(__NR_write, fd, line, at);
    while (SYS3(__NR_read, fd, &answer, 1) == -EINTR) continue;
    SYS1(__NR_close, fd);
}

static u64 bytes_of(enum area_kind kind) {
    u64 bytes = 0;
    for (size_t i = 0; i < areas_count(); i++)
        if (areas_get(i)->kind == kind && areas_get(i)->protection) bytes += areas_get(i)->end - areas_get(i)->start;
    return bytes;
}

static void write_report(void) {
    size_t at = begin_line();
    at = append_json(at, "secret_bytes", bytes_of(AREA_SECRET) + bytes_of(AREA_SHARED_SECRET));
    at = append_json(at, "sealed_bytes", bytes_of(AREA_SEALED));
    at = append_json(at, "unprotected_jit_bytes", bytes_of(AREA_JIT));
    at = append_json(at, "unprotected_jit_mappings", state.counters.jit);
    at = append_json(at, "unprotected_shared_file_bytes", bytes_of(AREA_OPEN_FILE));
    at = append_json(at, "unprotected_shared_file_mappings", state.counters.open_files);
    at = append_json(at, "forks", state.counters.forks);
    at = append_json(at, "traps", state.counters.traps);
    at = append_json(at, "direct_calls", state.counters.direct);
    at = append_json(at, "patched_sites", state.counters.patched);
    at = append(line, at, LINE_SIZE, "}\n");
    long fd = SYS3(__NR_open, state.report, WRITE_ONLY | CREATE | APPEND | CLOSE_ON_EXEC, 0600);
    if (failed(fd)) return;
    SYS3(__NR_write, fd, line, at);
    SYS1(__NR_close, fd);
}

void observer_exit(void) {
    struct lock_guard lock;
    lock_take(&lock, true);
    observer_checkpoint("exit");
    if (state.report[0]) write_report();
    lock_give(&lock); /* a vfork child shares it with its parent */
}
