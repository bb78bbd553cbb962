#include "secret.h"

#include <linux/mman.h>

#include "descriptors.h"

long secret_open(u64 size) {
    long fd = open_beyond_limit(__NR_memfd_secret, CLOSE_ON_EXEC, 0);
    if (failed(fd)) return fd;
    long error = SYS2(__NR_ftruncate, fd, size);
    /* mincore(2) tells the truth only to who may write the inode, and a program may give up the user that makes it now. The mode
     * protects nothing: no path leads to a secret inode. */
    if (!failed(error)) error = SYS2(__NR_fchmod, fd, 0666);
    if (!failed(error)) return fd;
    SYS1(__NR_close, fd);
    return error;
}

long secret_map_from(int fd, u64 address, u64 length, int protection, int extra_flags, u64 offset) {
    long at = SYS6(__NR_mmap, address, length, protection, MAP_SHARED | extra_flags, fd, offset);
    return at == -EAGAIN ? -ENOMEM : at; /* EAGAIN: over RLIMIT_MEMLOCK, which no caller of mmap expects */
}

/* The descriptor is closed at once: while it is open, root can take it with pidfd_getfd(2) and map it. */
long secret_map(u64 address, u64 length, int protection, int extra_flags) {
    long fd = secret_open(length);
    if (failed(fd)) return fd;
    long mapped = secret_map_from((int)fd, address, length, protection, extra_flags, 0);
    SYS1(__NR_close, fd);
    return mapped;
}

/* Calls `act(start, length)` for each run of existing pages. */
static void for_resident(u64 start, u64 length, u8 *residency, void (*act)(u64, u64, u64), u64 extra) {
    for (u64 done = 0; done < length; done += PAGES_AT_ONCE * PAGE) {
        u64 piece = min_u64(length - done, PAGES_AT_ONCE * PAGE);
        if (failed(SYS3(__NR_mincore, start + done, piece, residency))) continue;
        for (u64 page = 0; page < piece / PAGE;) {
            u64 first = page;
            while (page < piece / PAGE && (residency[page] & 1)) page++;
            if (page > first) act(start + done + first * PAGE, (page - first) * PAGE, extra);
            else page++;
        }
    }
}

static void wipe_run(u64 start, u64 length, u64 unused) {
    (void)unused;
    memset(ptr_of(start), 0, length);
}

void secret_wipe(u64 start, u64 length, u8 *residency) { for_resident(start, length, residency, wipe_run, 0); }

static void copy_run(u64 start, u64 length, u64 distance) {
    memcpy(ptr_of(start + distance), ptr_of(start), length);
}

void secret_copy(u64 to, u64 from, u64 length, u8 *residency) {
    for_resident(from, length, residency, copy_run, to - from);
}
