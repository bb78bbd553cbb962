/* Which parts of the window are backed by secret memory. The window is cut into slots; one or more of them are an extent, which
 * one secret inode backs. The kernel takes the pages of an inode back only as a whole, so an extent is also the unit in which
 * memory is given back. */
#ifndef CLOISTER_EXTENTS_H
#define CLOISTER_EXTENTS_H

#include "rt.h"

#define SLOT_SIZE (2UL << 20)
#define EXTENT_MOST (128UL << 20)
#define WINDOW_SIZE (1UL << 42)

struct extent {
    u64 start, end;
};

void extents_begin(u64 base); /* none; the window starts at `base` */
u64 extents_bytes(void);      /* of all */
/* The extent that holds `address`; false if none does. */
NODISCARD bool extents_find(u64 address, struct extent *found);
/* The first that ends after `address`; false if there is none. */
NODISCARD bool extents_next(u64 address, struct extent *found);
/* `extent` has whole slots, is no larger than EXTENT_MOST and meets no other. */
void extents_put(const struct extent *extent);
void extents_drop(const struct extent *extent);

/* Idle: kept although nothing stands in it. Marked by whoever empties it. */
NODISCARD bool extents_is_idle(const struct extent *extent);
void extents_set_idle(const struct extent *extent, bool idle);
NODISCARD bool extents_highest_idle(struct extent *found);

/* Whether an extent's pages were dropped at most some two seconds ago; notes that they are dropped now. */
NODISCARD bool extents_dropped_again(const struct extent *extent, u64 seconds);

#endif
