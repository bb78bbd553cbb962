/* Where names stand in large directories: for each name a hash and the block that has it. It is only in memory, is made by looking through
 * a directory once, and whoever asks it looks for himself: what it says of names that are gone costs time, nothing else. */
#ifndef CLOISTER_VOLUME_INDEX_H
#define CLOISTER_VOLUME_INDEX_H

#include "state.h"

enum { INDEX_BLOCKS = 8 /* directories that are smaller are looked through */ };

/* Nothing is known any more. */
void index_forget(struct volume *volume);
/* That directory is none any more, or another one. */
void index_drop(struct volume *volume, u64 directory);
/* Whether all its names are here. Before they are put here, index_begin says that they will be: false if that is not worth it yet, or
 * there was no room for them last time. */
NODISCARD bool index_has(const struct volume *volume, u64 directory);
NODISCARD bool index_begin(struct volume *volume, u64 directory);
/* Of a directory that is here, or is being put here. Where there is no room for a name, nothing is known any more. */
void index_add(struct volume *volume, u64 directory, struct name name, u64 block);
void index_remove(struct volume *volume, u64 directory, struct name name, u64 block);
/* The next block that may have the name: *at begins as 0. -1 behind the last. */
NODISCARD long index_next(const struct volume *volume, u64 directory, struct name name, u64 *at);
/* The first block that may have room for a name; 0 of directories that are not here. */
NODISCARD u64 index_room(const struct volume *volume, u64 directory);
void index_set_room(struct volume *volume, u64 directory, u64 block);

#endif
