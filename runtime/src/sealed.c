#include "sealed.h"

#include <linux/fcntl.h>
#include <linux/memfd.h>
#include <linux/mman.h>

#include "descriptors.h"
#include "elf_file.h"
#include "together.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3 */
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

/* WORTH: a huge page takes as long as some 40 pages, but its memory too; of the last one so much must be needed at least. */
enum { WORTH = 512 << 10, STEP = 4 * HUGE_PAGE, PATIENCE = 4 * 1000 * 1000 /* nanoseconds: what small pages take */, THREAD_TIME = 3 };

long sealed_create(u64 size) {
    u64 name = addr_of(CLOISTER_MEMFD_TEXT);
    long fd = open_beyond_limit(__NR_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
    if (fd == -EINVAL) fd = open_beyond_limit(__NR_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (failed(fd)) return fd;
    long error = SYS2(__NR_ftruncate, fd, size);
    if (!failed(error)) return fd;
    SYS1(__NR_close, fd);
    return error;
}

long sealed_finish(long fd) {
    return SYS3(__NR_fcntl, fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
}

long reserve_aligned(u64 length, u64 alignment) {
    u64 more = alignment > PAGE ? alignment : 0;
    long at = SYS6(__NR_mmap, 0, length + more, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (failed(at) || !more) return at;
    u64 start = (u64)at, aligned = (start + alignment - 1) & ~(alignment - 1), end = start + length + more;
    if (aligned > start) SYS2(__NR_munmap, start, aligned - start);
    if (end > aligned + length) SYS2(__NR_munmap, aligned + length, end - aligned - length);
    return (long)aligned;
}

/* How much of it, from the start, is worth huge pages. */
static u64 huge_extent(u64 filled) {
    u64 whole = filled & ~(HUGE_PAGE - 1UL);
    return filled - whole >= WORTH ? whole + HUGE_PAGE : whole;
}

u64 sealed_alignment(u64 filled) { return filled >= HUGE_PAGE ? HUGE_PAGE : PAGE; }

static u64 now(void) {
    u64 moment[2] = {0, 0};
    SYS2(__NR_clock_gettime, THREAD_TIME, moment);
    return moment[0] * 1000 * 1000 * 1000 + moment[1];
}

static bool collapse(u64 at, u64 length) {
    for (u64 done = 0; done < length; done += HUGE_PAGE) *(volatile u8 *)ptr_of(at + done) = 0; /* there must be a page to begin with */
    return !failed(SYS3(__NR_madvise, at, length, MADV_COLLAPSE));
}

static long map_view(struct draft *draft, u64 size) {
    draft->length = max_u64(page_up(max_u64(size, 1)), draft->huge);
    long at = reserve_aligned(draft->length, draft->huge ? HUGE_PAGE : PAGE);
    if (failed(at)) return at;
    draft->at = (u64)at;
    return SYS6(__NR_mmap, at, draft->length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, draft->fd, 0);
}

long draft_begin(struct draft *draft, u64 size, u64 filled) {
    *draft = (struct draft){.fd = sealed_create(size), .huge = huge_extent(filled)};
    if (failed(draft->fd)) return draft->fd;
    long at = map_view(draft, size);
    return failed(at) ? draft_end(draft, at) : 0;
}

/* The part in huge pages, a step at a time. */
struct filling {
    struct work work;
    const struct draft *draft;
    u64 offset, length; /* of the file */
    int file;
    bool small;         /* huge pages take too long here */
    u64 copied;
    long error;
};

static void add_copied(struct filling *filling, long n) {
    if (failed(n)) __atomic_store_n(&filling->error, n, __ATOMIC_RELAXED);
    else __atomic_add_fetch(&filling->copied, (u64)n, __ATOMIC_RELAXED);
}

/* MADV_COLLAPSE does not ask what /sys/kernel/mm/transparent_hugepage wants of shared memory, but for "deny". Each call waits for work on
 * other processors, so a step is more than one huge page. Where memory is in pieces, or where a virtual machine has yet to get 2 MiB
 * of its host, a step takes longer than with small pages: then the rest gets these. */
static void fill_step(struct work *work, u64 index) {
    struct filling *filling = (struct filling *)work;
    u64 start = index * STEP, end = min_u64(start + STEP, filling->draft->huge), at = filling->draft->at + start, begun = now();
    if (!filling->small && !collapse(at, end - start)) filling->small = true;
    if (now() - begun > PATIENCE) filling->small = true;
    u64 length = min_u64(end, filling->length) - start;
    SYS3(__NR_madvise, at, page_up(length), MADV_POPULATE_WRITE); /* one call instead of a fault for each small page */
    add_copied(filling, read_available(filling->file, at, length, filling->offset + start));
}

static long fill_huge(const struct draft *draft, int file, u64 length, u64 offset) {
    struct filling filling = {.draft = draft, .file = file, .length = length, .offset = offset};
    filling.work = (struct work){.piece = fill_step, .count = (draft->huge + STEP - 1) / STEP};
    together(&filling.work);
    return filling.error ? filling.error : (long)filling.copied;
}

static long fill_view(const struct draft *draft, int file, u64 start, u64 end, u64 offset) {
    SYS3(__NR_madvise, draft->at + start, page_up(end - start), MADV_POPULATE_WRITE);
    return read_available(file, draft->at + start, end - start, offset + start);
}

/* From file to file: small pages need not be mapped to be filled, which takes as long again. */
static long fill_behind(const struct draft *draft, int file, u64 start, u64 end, u64 offset) {
    u64 from = offset + start, done = 0;
    long n = SYS3(__NR_lseek, draft->fd, start, 0 /* SEEK_SET */);
    while (!failed(n) && start + done < end) {
        n = SYS4(__NR_sendfile, draft->fd, file, &from, end - start - done);
        if (n == 0) break;
        if (n == -EINTR || n == -EAGAIN) n = 0;
        done += failed(n) ? 0 : (u64)n;
    }
    SYS3(__NR_lseek, draft->fd, 0, 0); /* a copy may be handed to the program as it is: measured.c */
    if (failed(n) && !done) return fill_view(draft, file, start, end, offset); /* not every file system can */
    return failed(n) ? n : (long)done;
}

long draft_fill(const struct draft *draft, int file, u64 length, u64 offset) {
    u64 in_huge = min_u64(draft->huge, length);
    long n = in_huge ? fill_huge(draft, file, in_huge, offset) : 0;
    if (failed(n) || (u64)n < in_huge || length == in_huge) return n;
    long more = fill_behind(draft, file, in_huge, length, offset);
    return failed(more) ? more : n + more;
}

long draft_end(struct draft *draft, long error) {
    if (draft->at) SYS2(__NR_munmap, draft->at, draft->length);
    if (!failed(error)) error = sealed_finish(draft->fd);
    if (!failed(error)) return draft->fd;
    SYS1(__NR_close, draft->fd);
    return error;
}
