#include "admission.h"

#include <linux/fcntl.h>

#include "../shield/table.h"
#include "manifest.h"
#include "measured.h"
#include "opening.h"
#include "program.h"
#include "state.h"

enum { READ_IMPLIES_EXECUTE = 0x0400000, LINE_SIZE = 1024, LINK_SIZE = 512, STANDARD_ERROR = 2 };

bool admission_is_strict(void) { return state.manifest.size != 0; }

static bool has_spoken;

static long refuse(const char *path, const char *why) {
    char line[LINE_SIZE];
    size_t at = append(line, 0, LINE_SIZE, "cloister: ");
    at = append(line, at, LINE_SIZE / 2, path);
    at = append(line, at, LINE_SIZE, why);
    if (!shield_is_on() || !table_has(STANDARD_ERROR)) SYS3(__NR_write, STANDARD_ERROR, line, at); /* else it would be among the program's */
    has_spoken = true;
    return -EACCES;
}

static long refuse_unlisted(const char *path) {
    return refuse(path, ": the manifest does not list it, so it may not be code here; `cloister measure --learn` lists what a program loads\n");
}

static long refuse_changed(const char *path) {
    return refuse(path, ": it is not what was measured; if it was changed on purpose, `cloister measure` makes a new manifest\n");
}

/* The manifest goes first: a program that the host gives a library's name does not become that library. */
static const u8 *expected_digest(const char *path) {
    const u8 *listed = manifest_find(path);
    if (listed) return listed;
    return state.root_program[0] && same_string(path, state.root_program) ? state.root_digest : NULL;
}

static bool asks_to_write(u64 flags) {
    return (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC || (flags & O_CREAT && flags & O_EXCL);
}

static long open_expected(const char *path, u64 flags, const u8 *expected) {
    u8 digest[SHA256_SIZE];
    long fd = measured_copy(path, flags, digest);
    if (failed(fd)) return fd;
    if (memcmp(digest, expected, SHA256_SIZE) == 0) {
        measured_accept((int)fd);
        return fd;
    }
    SYS1(__NR_close, fd);
    return refuse_changed(path);
}

/* In a closed directory there is nothing but what is listed, and directories. */
static long open_directory(const char *path, u64 flags) {
    if (asks_to_write(flags) || flags & O_CREAT) return -EROFS;
    long fd = SYS2(__NR_open, path, flags | O_DIRECTORY);
    return fd == -ENOTDIR && !(flags & O_DIRECTORY) ? -ENOENT : fd;
}

long admission_open(const char *path, u64 flags) {
    if (!admission_is_strict()) return NOT_LISTED;
    const u8 *expected = expected_digest(path);
    if (!expected) return manifest_closes(path) ? open_directory(path, flags) : NOT_LISTED;
    if (flags & O_PATH) return NOT_LISTED;
    return asks_to_write(flags) ? -EROFS : open_expected(path, flags, expected);
}

long admission_open_program(const char *path) {
    char *name = state.root_program;
    if (!path_normalise(AT_HERE, path, name, PATH_SIZE)) return -ENOENT;
    long error = program_may_execute(path);
    if (failed(error)) return error;
    const u8 *listed = manifest_find(name);
    if (!listed) {
        long fd = measured_copy(name, CLOSE_ON_EXEC, state.root_digest);
        if (!failed(fd)) measured_accept((int)fd);
        return fd;
    }
    memcpy(state.root_digest, listed, SHA256_SIZE);
    return open_expected(name, CLOSE_ON_EXEC, listed);
}

/* A descriptor that the program executes is one of the copies itself, or leads to a path that is listed. */
static long open_descriptor(int fd) {
    static char name[PATH_SIZE] BEHIND;
    if (measured_is_copy(fd)) return SYS3(__NR_fcntl, fd, F_DUPFD_CLOEXEC, 0);
    if (failed(descriptor_path(fd, name, sizeof name))) return -EACCES;
    long opened = admission_open(name, CLOSE_ON_EXEC);
    return opened == NOT_LISTED ? refuse_unlisted(name) : opened;
}

static long open_executable(const char *path) {
    static char name[PATH_SIZE] BEHIND;
    int fd = path_descriptor(path);
    if (fd >= 0) return open_descriptor(fd);
    if (!path_normalise(AT_HERE, path, name, sizeof name)) return -ENOENT;
    long opened = admission_open(name, CLOSE_ON_EXEC);
    return opened == NOT_LISTED ? refuse_unlisted(name) : opened;
}

long admission_open_executable(const char *path) {
    struct lock_guard lock;
    lock_take(&lock, false);
    long fd = open_executable(path);
    lock_give(&lock);
    return fd;
}

long admission_adopt(int fd) {
    u8 digest[SHA256_SIZE];
    if (measured_is_copy(fd)) return fd;
    bool known = !failed(measured_adopt(fd, digest)) &&
                 (manifest_has_digest(digest) || memcmp(digest, state.root_digest, SHA256_SIZE) == 0);
    if (known) measured_accept(fd);
    return known ? fd : -EACCES;
}

bool admission_allows(int fd) { return !admission_is_strict() || measured_is_copy(fd); }
bool admission_allows_jit(void) { return !admission_is_strict(); }

void admission_say_refused(int fd) {
    static bool said_jit;
    char link[40], name[LINK_SIZE];
    if (fd < 0) {
        if (!said_jit) refuse("memory", ": it may not become code in a strict enclave, so programs that generate code (JIT) need to be told not to\n");
        said_jit = true;
        return;
    }
    append_number(link, append(link, 0, sizeof link, "/proc/self/fd/"), sizeof link, (u64)fd);
    long n = SYS3(__NR_readlink, link, name, LINK_SIZE - 1);
    name[failed(n) ? 0 : n] = 0;
    refuse_unlisted(name);
}

bool admission_has_spoken(void) { return has_spoken; }

void admission_begin(void) {
    long current = SYS1(__NR_personality, 0xffffffff);
    if (admission_is_strict() && !failed(current)) SYS1(__NR_personality, (u64)current & ~(u64)READ_IMPLIES_EXECUTE);
}

long admission_personality(u64 wanted) {
    if ((u32)wanted == 0xffffffff || !admission_is_strict()) return SYS1(__NR_personality, wanted);
    return -EPERM;
}
