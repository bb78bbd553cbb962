/* Objects: sequences of blocks under nodes of pointers. Object TABLE holds the inodes. */
#ifndef CLOISTER_VOLUME_TREE_H
#define CLOISTER_VOLUME_TREE_H

#include "cache.h"

struct top {
    u32 levels;
    struct pointer root;
};

u32 levels_for(u64 size);
/* What points to a block: the node above, or the object's top. */
NODISCARD long tree_pointer(struct volume *volume, const struct top *top, u64 object, u32 level, u64 index, struct pointer *pointer);
/* All return the frame of a block, or an error. `index` must lie under the top. */
NODISCARD long tree_get(struct volume *volume, u64 object, u32 level, u64 index);
NODISCARD long tree_change(struct volume *volume, u64 object, u64 index); /* a data block, dirty from now on */
/* Changes how many bytes an object can hold, and frees what lies behind. The caller records the size itself. */
NODISCARD long tree_resize(struct volume *volume, u64 object, u64 old_size, u64 size);
/* Writes all that is dirty, but for the superblock. */
NODISCARD long tree_flush(struct volume *volume);

#endif
