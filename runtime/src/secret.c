#include "secret.h"

#include <asm/stat.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/resource.h>

#include "descriptors.h"

enum { LIFTED = 64 }; /* from there on */

/* Whether the number still is of the inode that was made. Somebody may have closed it or put a file of his own on it (numbers.c):
 * that must not be cut off, mapped or closed. */
static bool is_open(const struct secret *secret) {
    struct stat info;
    return !failed(SYS2(__NR_fstat, secret->fd, &info)) && info.st_dev == secret->device && info.st_ino == secret->inode;
}

/* A new secret inode is empty. All are of one file system, which the first of them tells, before any program runs. */
static bool identify(struct secret *secret) {
    static u64 device;
    struct stat info;
    if (failed(SYS2(__NR_fstat, secret->fd, &info)) || info.st_size) return false;
    if (!device) device = info.st_dev;
    secret->device = info.st_dev;
    secret->inode = info.st_ino;
    return info.st_dev == device;
}

/* Beyond RLIMIT_FSIZE the kernel would send SIGXFSZ. */
static bool is_too_large(u64 size) {
    u64 limit[2] = {~0UL, ~0UL};
    return !failed(SYS2(__NR_getrlimit, RLIMIT_FSIZE, limit)) && size > limit[0];
}

/* mincore(2) tells the truth only to who may write the inode, and a program may give up the user that makes it now. The mode
 * protects nothing: no path leads to a secret inode. */
static long shape(const struct secret *secret, u64 size) {
    long error = SYS2(__NR_ftruncate, secret->fd, size);
    if (!failed(error)) error = is_open(secret) ? SYS2(__NR_fchmod, secret->fd, 0666) : -ESTALE;
    return failed(error) && !is_open(secret) ? -ESTALE : error;
}

/* Where somebody closes low numbers in a loop, a higher one lives long enough. */
static long lift(long fd) {
    static u64 turn;
    long high = SYS3(__NR_fcntl, fd, F_DUPFD_CLOEXEC, LIFTED + ++turn % LIFTED);
    if (failed(high)) return fd;
    if (is_same_file(fd, high)) SYS1(__NR_close, fd);
    return high;
}

long secret_open(u64 size, struct secret *out) {
    static bool disturbed;
    if (is_too_large(size)) return -ENOMEM;
    out->fd = open_beyond_limit(__NR_memfd_secret, CLOSE_ON_EXEC, 0);
    if (failed(out->fd)) return out->fd;
    long low = out->fd;
    if (disturbed) out->fd = lift(low);
    bool known = identify(out);
    if (!known && out->fd != low) SYS1(__NR_close, out->fd); /* a copy of somebody's file */
    long error = known ? shape(out, size) : -ESTALE;
    if (error == -ESTALE) disturbed = true;
    else if (failed(error)) secret_close(out);
    return error;
}

void secret_close(const struct secret *secret) { SYS1(__NR_close, secret->fd); }

/* Nobody else has this inode: if it is there afterwards, it was what was mapped. */
long secret_map_from(const struct secret *secret, u64 address, u64 length, int protection, int extra_flags, u64 offset) {
    long at = SYS6(__NR_mmap, address, length, protection, MAP_SHARED | extra_flags, secret->fd, offset);
    if (at == -EAGAIN) return -ENOMEM; /* over RLIMIT_MEMLOCK, which no caller of mmap expects */
    if (is_open(secret)) return at;
    if (failed(at)) return -ESTALE;
    SYS6(__NR_mmap, at, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (!(extra_flags & (MAP_FIXED | MAP_FIXED_NOREPLACE))) SYS2(__NR_munmap, at, length);
    return -ESTALE;
}

/* The descriptor is closed at once: while it is open, root can take it with pidfd_getfd(2) and map it. */
long secret_map(u64 address, u64 length, int protection, int extra_flags) {
    long at = -ESTALE;
    for (int i = 0; i < SECRET_TRIES && at == -ESTALE; i++) {
        struct secret secret;
        at = secret_open(length, &secret);
        if (failed(at)) continue;
        at = secret_map_from(&secret, address, length, protection, extra_flags, 0);
        if (at != -ESTALE) secret_close(&secret);
    }
    return at == -ESTALE ? -ENOMEM : at;
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

bool secret_clear(u64 start, u64 length, int before, int after, u8 *residency) {
    int writable = PROT_READ | PROT_WRITE;
    if (before != writable && failed(SYS3(__NR_mprotect, start, length, writable))) return false;
    secret_wipe(start, length, residency);
    return after == writable || !failed(SYS3(__NR_mprotect, start, length, after));
}

static void copy_run(u64 start, u64 length, u64 distance) {
    memcpy(ptr_of(start + distance), ptr_of(start), length);
}

void secret_copy(u64 to, u64 from, u64 length, u8 *residency) {
    for_resident(from, length, residency, copy_run, to - from);
}
