/* Sealed memfds: what text and read-only data are copied into. Nobody can write them once they are sealed. */
#ifndef CLOISTER_SEALED_H
#define CLOISTER_SEALED_H

#include "rt.h"

enum { HUGE_PAGE = 2 << 20 };

NODISCARD long sealed_create(u64 size); /* a descriptor, not sealed yet */
/* Fails with EBUSY if anyone else has the memfd mapped writable: then the content cannot be trusted. */
NODISCARD long sealed_finish(long fd);

/* A memfd that is being written: `at` is a view of it, whose first bytes have their pages already. */
struct draft {
    long fd;
    u64 at, length;
};
/* 0, or -errno: then there is nothing to end. `filled`: how many bytes will be written, from the start. */
NODISCARD long draft_begin(struct draft *draft, u64 size, u64 filled);
/* The view goes, the memfd is sealed: its descriptor. If `error` is one, or sealing fails, that, and no descriptor. */
NODISCARD long draft_end(struct draft *draft, long error);

/* Address space for `length` bytes at a multiple of `alignment` (a power of two); nothing is accessible in it yet. */
NODISCARD long reserve_aligned(u64 length, u64 alignment);
/* What an image of so many bytes should be aligned to, so that huge pages of it can be mapped as such. */
u64 sealed_alignment(u64 filled);

#endif
