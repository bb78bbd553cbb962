/* The window: one large address range from which the program's private memory is allocated and recycled.
 *
 * It is cut into slots. A slot is backed by one secret inode, mapped when memory in it is first made accessible and unmapped
 * when the last area in it is gone, which is when the kernel gets the pages back (a hole cannot be punched into a secret
 * inode). Free memory inside a backed slot is inaccessible and zero. */
#ifndef CLOISTER_WINDOW_H
#define CLOISTER_WINDOW_H

#include "areas.h"

#define SLOT_SIZE (16UL << 20)
#define WINDOW_SIZE (1UL << 42)

NODISCARD long window_reserve(void);
NODISCARD bool in_window(u64 address);
NODISCARD bool window_meets(u64 start, u64 end);
NODISCARD bool window_cut(u64 start, u64 end); /* partly inside, partly outside */
u64 window_start(void);
u64 window_end(void);

/* Finds `length` free bytes and records them as an inaccessible secret area; 0 if there are none. */
NODISCARD u64 window_take(u64 length);
/* The same at a fixed place inside the window, which must be free. */
void window_take_at(u64 start, u64 length);
/* Sets the protection of recorded secret areas, backing their slots first. */
NODISCARD long window_protect(u64 start, u64 length, int protection);
/* Wipes and forgets whatever is mapped in [start, start + length) of the window. */
NODISCARD long window_release(u64 start, u64 length);

/* For fork: what one inode backs. */
struct extent {
    u64 start, end;
};
/* The first backed extent that ends after `address`, cut at nothing; false if there is none. */
NODISCARD bool window_next_extent(u64 address, struct extent *found);
/* How far from `start` (in the window) memory is alike, at most to `end`: backed, or only reserved. */
NODISCARD u64 window_alike(u64 start, u64 end, bool *backed);

#endif
