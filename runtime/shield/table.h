/* Which descriptors are shielded. All changes with the lock held.
 *
 * A vfork(2) child has descriptors of its own, but its parent's memory: what it changes is kept beside the table (table_overlay.h). */
#ifndef CLOISTER_SHIELD_TABLE_H
#define CLOISTER_SHIELD_TABLE_H

#include "shield.h"

enum { TABLE_MOST = 65536, TABLE_OVERLAYS = 32 };

/* False if it is not shielded; then *out is not written. */
NODISCARD bool table_get(u64 fd, struct shielded *out);
static inline bool table_has(u64 fd) {
    struct shielded entry;
    return table_get(fd, &entry);
}
/* 0, or -EMFILE where the number is too high or a vfork child changes too many. The entry's kind is told. */
NODISCARD long table_put(u64 fd, const struct shielded *entry);
/* In a new image: what it inherited. Nobody is told. */
void table_restore(u64 fd, const struct shielded *entry);
/* The entry is taken out and its kind told. */
void table_drop(u64 fd);
/* One behind the highest number that was ever in use. */
u64 table_end(void);
/* In a forked child: the table is its own now; its memory is its own too, so its copies count. */
void table_adopt(void);
void table_count_copies(void);
/* Whether this is a vfork child, which shares its parent's memory. */
NODISCARD bool table_is_borrowed(void);
/* Of a vfork child: a number below TABLE_OVERLAYS that is its own, with `make` also if it has none yet; *first until that was made. -1
 * for others, -ENOMEM if there are too many. */
NODISCARD long table_overlay(bool make, bool *first);

#endif
