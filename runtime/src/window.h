/* The window: one large address range from which the program's private memory is allocated and recycled.
 *
 * Memory in it is backed extent by extent (extents.h) when it is first made accessible. An extent in which nothing is left is
 * given back or kept for later (idle.h). Free memory inside an extent is inaccessible and zero. */
#ifndef CLOISTER_WINDOW_H
#define CLOISTER_WINDOW_H

#include "areas.h"
#include "extents.h"

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
/* Backs what was taken at once, as one piece: it will be used and released as one. */
void window_back_whole(u64 start, u64 length);
/* Sets the protection of recorded secret areas, backing them first. */
NODISCARD long window_protect(u64 start, u64 length, int protection);
/* Wipes and forgets whatever is mapped in [start, start + length) of the window. */
NODISCARD long window_release(u64 start, u64 length);
/* Makes [start, end), inside one secret area of this protection, zero. */
NODISCARD long window_discard(u64 start, u64 end, int protection);

/* For fork: the first backed extent that ends after `address`, cut at nothing; false if there is none. */
NODISCARD bool window_next_extent(u64 address, struct extent *found);

#endif
