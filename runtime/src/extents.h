/* Which parts of the window are backed by secret memory. An extent is what one secret inode backs. The kernel takes the pages of an
 * inode back only as a whole, so an extent is also the unit in which memory is given back. */
#ifndef CLOISTER_EXTENTS_H
#define CLOISTER_EXTENTS_H

#include "rt.h"

#define WINDOW_SIZE (1UL << 42)
#define SLOT_SIZE (128UL << 10) /* extents begin and end at multiples of it, from the start of the window */
#define EXTENT_MOST (128UL << 20)
enum { EXTENTS_MAX = 49152 }; /* of the 65530 mappings that the kernel allows */

struct extent {
    u64 start, end;
};

u64 extents_bytes(void); /* of all */
size_t extents_count(void); /* at most EXTENTS_MAX */
/* The extent that holds `address`; false if none does. */
NODISCARD bool extents_find(u64 address, struct extent *found);
/* The first that ends after `address`; false if there is none. */
NODISCARD bool extents_next(u64 address, struct extent *found);
/* `extent` meets no other. */
void extents_put(const struct extent *extent);
void extents_drop(const struct extent *extent);

/* Idle: kept although nothing stands in it. Marked by whoever empties it. */
NODISCARD bool extents_is_idle(const struct extent *extent);
void extents_set_idle(const struct extent *extent, bool idle);
NODISCARD bool extents_highest_idle(struct extent *found);

/* Whether an extent's pages were dropped at most two seconds ago; notes that they are dropped now. */
NODISCARD bool extents_dropped_again(const struct extent *extent, u64 seconds);

#endif
