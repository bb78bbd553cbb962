/* What the engine's files share. */
#ifndef CLOISTER_VOLUME_STATE_H
#define CLOISTER_VOLUME_STATE_H

#include <linux/errno.h>

#include "aes_gcm.h"
#include "volume.h"

enum {
    DIRTY_LISTS = 2 * LEVELS, NO_FRAME = ~0U, OPERATION_FRAMES = 64, NAMELESS = 1024, SCRATCH_FRAMES = 2 * LEVELS, FIRST_FRAMES = 1024,
    ENOUGH_CAME_BACK = 8, INDEXED = 8,
};

/* One cached block. Dirty ones stand in a list for each level, the table's levels after those of all other objects: the order in
 * which they are written, for a block must be on the disk before the node that points to it. */
struct frame {
    u64 object, index;
    u8 level, used, dirty, referenced;
    u32 next_in_bucket; /* its number plus 1 */
    u32 dirty_next, dirty_previous;
};

/* index.h: a name's place, and the directories whose names are all there. */
struct index_slot {
    u32 tag, block; /* block: its number plus 1; 0 free */
};

struct indexed {
    u64 directory, room; /* 0: unused */
};

struct volume {
    struct volume_io io;
    struct gcm gcm;
    u8 superblock_key[32], writer[16]; /* writer: of the states that are made from now on */
    u8 nonce_prefix[8];
    u64 nonce_count;
    struct volume_root root;           /* the state that this one was made of: the last committed or published one */
    struct pointer root_table;         /* the root of the table then */
    u64 durable;                       /* the generation of the newest committed state */
    struct superblock superblock;      /* generation: of `root`; table_* and blocks are those of now */
    struct superblock newest;          /* the newest committed one, when it was looked for last */
    struct superblock other;           /* one that is read or made: too large for the stacks that this runs on, */
    u8 scratch[sizeof(struct place) + BLOCK]; /* as this one of store.c */

    struct frame *frames;
    u8 (*data)[BLOCK];
    u32 frame_count, hand, dirty_count; /* behind the frames are SCRATCH_FRAMES more, of walk.c */
    u32 frames_open;                   /* how many are in use for now: cache.c */
    u32 *ghosts, ghost_mask, came_back; /* which blocks were dropped, by hash; how many were wanted again */
    u32 frames_touched;                /* those behind were never used: looking at them would bring their memory into being */
    u32 *buckets, bucket_mask;         /* numbers of frames plus 1, for memory begins as zeros */
    u32 dirty_first[DIRTY_LISTS], dirty_last[DIRTY_LISTS];

    struct index_slot *index;
    u32 index_mask, index_used, index_next;
    struct indexed indexed[INDEXED];
    u64 index_wanted, index_refused;   /* directories: looked through last; too large */

    bool walked;                       /* what follows is known: only who changes something needs it (walk.c) */
    bool lost;                         /* numbers of inodes that were forgotten are not given again */
    u64 *live;                         /* a bit for each block: used now; */
    u64 *durable_blocks;               /* used by the newest committed state, or more than that; */
    u64 *kept;                         /* by that or by the last published one */
    u64 block_limit, blocks_known;     /* no bit is set behind blocks_known */
    u64 next_free, spare;              /* spare: blocks of the file that neither is used nor kept */
    u64 *inode_used, *inode_kept;      /* kept: by a state that may come back, in which the number means what it meant */
    u64 inode_limit, inodes_known, next_inode;
    u32 nameless_count, nameless[NAMELESS]; /* inodes without a name in the state that was opened, as many as there is room for */
};

#endif
