/* Blocks in memory, found by their place. A dirty one is never dropped to make room: tree_flush writes them. */
#ifndef CLOISTER_VOLUME_CACHE_H
#define CLOISTER_VOLUME_CACHE_H

#include "state.h"

void cache_begin(struct volume *volume, bool in_order); /* empty; in order unless somebody was stopped in the middle */
u32 *cache_bucket(struct volume *volume, u64 object, u32 level, u64 index); /* where the numbers of its frame and others begin */
u32 cache_find(struct volume *volume, u64 object, u32 level, u64 index); /* NO_FRAME if it is not there */
/* A frame for a block that is not there; its content is what was in it before. What cache_find and cache_take returned earlier may
 * be gone then, unless it is dirty. */
u32 cache_take(struct volume *volume, u64 object, u32 level, u64 index);
void cache_dirty(struct volume *volume, u32 frame);
void cache_clean(struct volume *volume, u32 frame);
void cache_drop(struct volume *volume, u32 frame); /* forgets it, dirty or not */

#endif
