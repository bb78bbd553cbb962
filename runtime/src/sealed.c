#include "sealed.h"

#include <linux/fcntl.h>
#include <linux/memfd.h>
#include <linux/mman.h>

#include "descriptors.h"
#include "elf_file.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3 */
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

/* WORTH: a huge page takes as long as some 40 pages, but its memory too; of the last one so much must be needed at least. */
enum { WORTH = 512 << 10, PATIENCE = 50 * 1000 * 1000 /* nanoseconds */, MONOTONIC = 1 };

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
    SYS2(__NR_clock_gettime, MONOTONIC, moment);
    return moment[0] * 1000 * 1000 * 1000 + moment[1];
}

static bool collapse(u64 at, u64 length) {
    for (u64 done = 0; done < length; done += HUGE_PAGE) *(volatile u8 *)ptr_of(at + done) = 0; /* there must be a page to begin with */
    return !failed(SYS3(__NR_madvise, at, length, MADV_COLLAPSE));
}

/* MADV_COLLAPSE does not ask what /sys/kernel/mm/transparent_hugepage wants of shared memory, but for "deny". Each call waits for work on
 * other processors, so it is asked for more each time; but where memory is in pieces, the kernel may take long to find 2 MiB of it, and
 * small pages do as well. */
static void make_huge(u64 at, u64 length) {
    u64 begun = now();
    for (u64 done = 0, step = HUGE_PAGE; done < length; step = min_u64(2 * step, length - done)) {
        if (!collapse(at + done, step) || now() - begun > PATIENCE) return;
        done += step;
    }
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
    if (failed(at)) return draft_end(draft, at);
    make_huge(draft->at, draft->huge);
    return 0;
}

/* Into huge pages through the view: one fault for each. */
static long fill_view(const struct draft *draft, int file, u64 start, u64 end, u64 offset) {
    SYS3(__NR_madvise, draft->at + start, page_up(end - start), MADV_POPULATE_WRITE); /* one call instead of a fault for each small one */
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
    u64 through_view = min_u64(draft->huge, length);
    long n = through_view ? fill_view(draft, file, 0, through_view, offset) : 0;
    if (failed(n) || (u64)n < through_view || length == through_view) return n;
    long more = fill_behind(draft, file, through_view, length, offset);
    return failed(more) ? more : n + more;
}

long draft_end(struct draft *draft, long error) {
    if (draft->at) SYS2(__NR_munmap, draft->at, draft->length);
    if (!failed(error)) error = sealed_finish(draft->fd);
    if (!failed(error)) return draft->fd;
    SYS1(__NR_close, draft->fd);
    return error;
}
