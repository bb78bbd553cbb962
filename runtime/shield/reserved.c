#include "reserved.h"

#include <linux/fcntl.h>

#include "filter.h"

enum { BELOW_BASE = RESERVED_MOST + 8, LOWEST = 10 };

static int numbers[RESERVED_MOST] BEHIND;
u32 reserved_count;

bool reserved_is(u64 fd) {
    for (u32 i = 0; i < reserved_count; i++)
        if ((u64)(u32)numbers[i] == fd) return true;
    return false;
}

long reserved_from(u64 fd) {
    long lowest = -1;
    for (u32 i = 0; i < reserved_count; i++)
        if ((u64)(u32)numbers[i] >= fd && (lowest < 0 || numbers[i] < lowest)) lowest = numbers[i];
    return lowest;
}

void reserved_inherit(int fd) {
    if (reserved_count < RESERVED_MOST && !reserved_is((u64)(u32)fd)) numbers[reserved_count++] = fd;
}

/* Where the program's own numbers hardly ever are, and below the limit of open files. */
static u64 start(void) {
    u64 base = filter_base_to_be();
    return base > BELOW_BASE + LOWEST ? base - BELOW_BASE : LOWEST;
}

long reserved_keep(long fd) {
    if (failed(fd)) return fd;
    long high = reserved_count < RESERVED_MOST ? SYS3(__NR_fcntl, fd, F_DUPFD, start()) : -EMFILE;
    SYS1(__NR_close, fd);
    if (!failed(high)) reserved_inherit((int)high);
    return high;
}

void reserved_close(long fd) {
    for (u32 i = 0; i < reserved_count; i++)
        if (numbers[i] == fd) numbers[i] = numbers[--reserved_count];
    SYS1(__NR_close, fd);
}
