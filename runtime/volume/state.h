/* What the engine's files share. */
#ifndef CLOISTER_VOLUME_STATE_H
#define CLOISTER_VOLUME_STATE_H

#include <linux/errno.h>

#include "aes_gcm.h"
#include "volume.h"

enum { DIRTY_LISTS = 2 * LEVELS, NO_FRAME = ~0U, OPERATION_FRAMES = 64 };

/* One cached block. Dirty ones stand in a list for each level, the table's levels after those of all other objects: the order in
 * which they are written, for a block must be on the disk before the node that points to it. */
struct frame {
    u64 object, index;
    u8 level, used, dirty, referenced;
    u32 next_in_bucket, dirty_next, dirty_previous;
};

struct volume {
    struct volume_io io;
    struct gcm gcm;
    u8 superblock_key[32];
    u8 nonce_prefix[8];
    u64 nonce_count;
    struct superblock superblock; /* the last committed one; table_* and blocks are those of now */
    struct volume_root root;
    struct pointer committed_table; /* the root of the table then */

    struct frame *frames;
    u8 (*data)[BLOCK];
    u32 frame_count, hand, dirty_count;
    u32 *buckets, bucket_mask;
    u32 dirty_first[DIRTY_LISTS];

    u8 scratch[sizeof(struct place) + BLOCK]; /* of store.c; too large for the stacks that this runs on */
    u64 *live, *committed; /* a bit for each block: used now; used by the last committed state */
    u64 block_limit, next_free, spare; /* spare: blocks of the file that neither state uses */
    u64 *inode_used;
    u64 inode_limit, next_inode;
};

#endif
