#include "learn.h"

#include <asm/stat.h>
#include <linux/fcntl.h>

#include "opening.h"
#include "state.h"

enum { TYPE_MASK = 0170000, REGULAR = 0100000 };

/* Not on the stack: a signal stack may be small. */
static char record[1 + PATH_SIZE] BEHIND;

static void write_record(char kind) {
    long fd = SYS3(__NR_open, state.learn, WRITE_ONLY | CREATE | APPEND | CLOSE_ON_EXEC, 0600);
    if (failed(fd)) return;
    record[0] = kind;
    SYS3(__NR_write, fd, record, strlen(record) + 1);
    SYS1(__NR_close, fd);
}

void learn_opened(const char *path, u64 flags, int fd) {
    struct stat info;
    if (!state.learn[0] || failed(SYS2(__NR_fstat, fd, &info)) || (info.st_mode & TYPE_MASK) != REGULAR) return;
    copy_bounded(record + 1, PATH_SIZE, path);
    write_record((flags & O_ACCMODE) == O_RDONLY ? 'r' : 'w');
}

void learn_executed(const char *path) {
    if (state.learn[0] && path_normalise(AT_HERE, path, record + 1, PATH_SIZE)) write_record('x');
}

void learn_mapped(int fd) {
    char link[40];
    if (!state.learn[0]) return;
    append_number(link, append(link, 0, sizeof link, "/proc/self/fd/"), sizeof link, (u64)fd);
    long n = SYS3(__NR_readlink, link, record + 1, PATH_SIZE - 1);
    record[1 + (failed(n) ? 0 : n)] = 0;
    write_record('m');
}
