/* Chunks of shielded files that are mapped: shared secret memory, one pool for each region, which the processes of a family have in
 * common. While a chunk is in use, reads and writes of the file go to it, too. All with the region's volume entered. */
#ifndef CLOISTER_SHIELD_FILE_POOL_H
#define CLOISTER_SHIELD_FILE_POOL_H

#include "location.h"

#define CHUNK (16 * PAGE)

/* At the start of every image, before the first fork. Without memory for it there are no shared mappings of a region's files. */
void file_pool_begin(void);
NODISCARD bool file_pool_is_there(u32 region);
NODISCARD bool file_pool_is_used(u32 region); /* whether anything of the region is mapped */

/* As volume_read and volume_write, of a file of which some may be mapped. */
NODISCARD long file_pool_read(const struct location *location, u64 offset, u8 *to, u64 size);
NODISCARD long file_pool_write(const struct location *location, u64 offset, const u8 *from, u64 size);
/* What is behind the new end of the file is zero. */
void file_pool_cut(const struct location *location, u64 size);
/* Brings what the program stored in mappings of the file into the volume; every file's where `inode` is 0. */
NODISCARD long file_pool_store(const struct location *location, u64 inode);

/* A chunk of the file for one more user: its number or -errno. What was stored reaches the volume before the last user is gone. */
NODISCARD long file_pool_take(const struct location *location, u64 index);
void file_pool_give(const struct location *location, u32 number);
void file_pool_share(u32 region, u32 number);
NODISCARD long file_pool_find(u32 region, u64 inode, u64 index); /* its number, or -1 */
u64 file_pool_address(u32 region, u32 number);

#endif
