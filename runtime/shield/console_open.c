/* What the program opens may be the console again: /dev/tty, /dev/stdin, /proc/self/fd/1. Whether it is, what was opened says: a path
 * has many names. Where the standard streams are sockets, the kernel cannot open them again, and a copy is made. */
#include <asm/ioctls.h>
#include <asm/stat.h>
#include <linux/fcntl.h>

#include "access.h"
#include "console.h"
#include "table.h"

enum { TYPE = 0170000, CHARACTERS = 0020000, NAME_MOST = 32, STREAMS = 3 };

/* /dev/tty, too, says which terminal it leads to. */
u32 console_device_of(int fd) {
    struct stat found;
    u32 device = 0;
    if (failed(SYS2(__NR_fstat, fd, &found)) || (found.st_mode & TYPE) != CHARACTERS) return 0;
    return failed(SYS3(__NR_ioctl, fd, TIOCGDEV, &device)) ? 0 : device;
}

static long put(long fd, u64 end) {
    struct lock_guard lock;
    const struct shielded entry = {.kind = SHIELD_CONSOLE, .object = end};
    lock_take(&lock, false);
    long error = table_put((u64)fd, &entry);
    lock_give(&lock);
    if (!failed(error)) return fd;
    SYS1(__NR_close, fd);
    return error;
}

static u64 path_of(const struct call *call) { return call->arg[call->number == __NR_open || call->number == __NR_creat ? 0 : 1]; }

static bool closes_on_exec(const struct call *call) {
    if (call->number == __NR_open) return call->arg[1] & O_CLOEXEC;
    return call->number == __NR_openat && call->arg[2] & O_CLOEXEC;
}

static long number_behind(const char *digits) {
    long number = 0;
    if (!*digits) return -1;
    for (; *digits; digits++) {
        if (*digits < '0' || *digits > '9' || number > TABLE_MOST) return -1;
        number = number * 10 + (*digits - '0');
    }
    return number;
}

/* Which descriptor the path names, or -1. */
static long named(const char *path) {
    static const char *const streams[STREAMS] = {"/dev/stdin", "/dev/stdout", "/dev/stderr"};
    static const char *const folders[] = {"/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/"};
    for (long i = 0; i < STREAMS; i++)
        if (same_string(path, streams[i])) return i;
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        if (starts_with(path, folders[i])) return number_behind(path + strlen(folders[i]));
    return -1;
}

static bool copy_path(u64 path, char name[NAME_MOST]) {
    for (u64 i = 0; i < NAME_MOST; i++) {
        if (!can_read(path + i, 1)) return false;
        name[i] = *(const char *)ptr_of(path + i);
        if (!name[i]) return true;
    }
    return false;
}

static long copy_stream(const struct call *call) {
    char name[NAME_MOST];
    struct shielded entry;
    long number = copy_path(path_of(call), name) ? named(name) : -1;
    if (number < 0 || !table_get((u64)number, &entry) || entry.kind != SHIELD_CONSOLE) return -ENXIO;
    long fd = SYS3(__NR_fcntl, number, closes_on_exec(call) ? F_DUPFD_CLOEXEC : F_DUPFD, 0);
    return failed(fd) ? fd : put(fd, entry.object);
}

/* As from a patched site: it may wait, for the other end of a pipe. */
static long open_now(const struct call *call) {
    struct call direct = *call;
    direct.frame = NULL;
    shield_unblock(call);
    long result = trap_pass(&direct);
    shield_block(call);
    return result;
}

long console_open(struct call *call, long result) {
    if (result == SHIELD_PASS) result = open_now(call);
    if (result == -ENXIO) return copy_stream(call);
    if (failed(result) || !console.device || console_device_of((int)result) != console.device) return result;
    return put(result, END_TERMINAL);
}
