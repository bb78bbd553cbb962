/* Sealed memfds: what text and read-only data are copied into. Nobody can write them once they are sealed. */
#ifndef CLOISTER_SEALED_H
#define CLOISTER_SEALED_H

#include "rt.h"

enum { HUGE_PAGE = 2 << 20 };

NODISCARD long sealed_create(u64 size); /* a descriptor, not sealed yet */
/* Fails with EBUSY if anyone else has the memfd mapped writable: then the content cannot be trusted. */
NODISCARD long sealed_finish(long fd);

/* A memfd that is being filled: `at` is a view of it, which may be written too. */
struct draft {
    long fd;
    u64 at, length, huge; /* how much of it, from the start, stands in huge pages if there are any */
};
/* 0, or -errno: then there is nothing to end. `filled`: how many bytes will be written, from the start. */
NODISCARD long draft_begin(struct draft *draft, u64 size, u64 filled);
/* Copies what the file has from `offset` on, up to `length` bytes, to the start of the memfd: how many these were, or -errno. */
NODISCARD long draft_fill(const struct draft *draft, int file, u64 length, u64 offset);
/* The view goes, the memfd is sealed: its descriptor. If `error` is one, or sealing fails, that, and no descriptor. */
NODISCARD long draft_end(struct draft *draft, long error);

/* Address space for `length` bytes at a multiple of `alignment` (a power of two); nothing is accessible in it yet. */
NODISCARD long reserve_aligned(u64 length, u64 alignment);
/* What an image of so many bytes should be aligned to, so that huge pages of it can be mapped as such. */
u64 sealed_alignment(u64 filled);

#endif
