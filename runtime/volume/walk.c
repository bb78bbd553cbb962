#include "walk.h"

#include "store.h"
#include "superblock.h"

typedef long claimer(struct volume *volume, u64 physical); /* 1 to go on below, 0 if all below is claimed already */
typedef long visitor(struct volume *volume, u64 index, const u8 *block);

struct walk {
    claimer *claim;
    visitor *visit; /* of data blocks; NULL if nobody wants to see them */
    u64 object;
    u32 scratch;    /* where a frame for each level begins */
};

static long claim_live(struct volume *volume, u64 physical) {
    long error = store_claim(volume, physical);
    return error ? error : 1;
}

static long walk(struct volume *volume, const struct walk *how, const struct top *top, u64 index) {
    if (!top->root.physical) return 0;
    long more = how->claim(volume, top->root.physical);
    if (more <= 0 || (!top->levels && !how->visit)) return more < 0 ? more : 0;
    u8 *block = volume->data[volume->frame_count + how->scratch + top->levels];
    long error = store_load(volume, &top->root, (struct place){how->object, index, top->levels}, block);
    if (error) return error;
    if (!top->levels) return how->visit(volume, index, block);
    for (u64 child = 0; child < FANOUT && !error; child++) {
        struct top below = {.levels = top->levels - 1};
        memcpy(&below.root, block + child * sizeof below.root, sizeof below.root);
        error = walk(volume, how, &below, index * FANOUT + child);
    }
    return error;
}

static bool is_right_inode(const struct inode *inode) {
    u32 type = inode->mode & TYPE_MASK;
    if ((type != REGULAR && type != DIRECTORY && type != LINK) || inode->mode >> 16) return false;
    if (inode->levels > LEVELS - 1 || inode->levels != levels_for(inode->size)) return false;
    return type != DIRECTORY || inode->size % BLOCK == 0;
}

static void note_inode(struct volume *volume, u64 number, const struct inode *inode) {
    table_claim(volume, number);
    if (!inode->links && volume->nameless_count < NAMELESS) volume->nameless[volume->nameless_count++] = (u32)number;
}

static long visit_inodes(struct volume *volume, u64 index, const u8 *block, claimer *claim) {
    for (u64 i = 0; i < INODES_PER_BLOCK; i++) {
        struct inode inode;
        u64 number = index * INODES_PER_BLOCK + i;
        memcpy(&inode, block + i * sizeof inode, sizeof inode);
        if (!inode.mode) continue;
        if (!is_right_inode(&inode) || !number || number >= volume->inode_limit) return -EBADMSG;
        if (claim == claim_live) note_inode(volume, number, &inode);
        const struct walk how = {claim, NULL, number, LEVELS};
        const struct top top = {inode.levels, inode.root};
        long error = walk(volume, &how, &top, 0);
        if (error) return error;
    }
    return 0;
}

static long visit_live(struct volume *volume, u64 index, const u8 *block) { return visit_inodes(volume, index, block, claim_live); }

static long claim_durable(struct volume *volume, u64 physical) { return store_claim_durable(volume, physical); }

static long visit_durable(struct volume *volume, u64 index, const u8 *block) {
    return visit_inodes(volume, index, block, claim_durable);
}

static long walk_state(struct volume *volume) {
    const struct walk how = {claim_live, visit_live, TABLE, 0};
    const struct top table = {volume->superblock.table_levels, volume->superblock.table_root};
    long error = walk(volume, &how, &table, 0);
    bool has_root = volume->inode_used[0] >> ROOT_INODE & 1;
    return error || has_root ? error : -EBADMSG;
}

/* As far as its blocks are others. */
static long walk_durable(struct volume *volume) {
    const struct walk how = {claim_durable, visit_durable, TABLE, 0};
    const struct top table = {volume->newest.table_levels, volume->newest.table_root};
    return walk(volume, &how, &table, 0);
}

static long find_durable(struct volume *volume) {
    long error = superblock_find(volume, NULL);
    if (error) return error;
    volume->durable = volume->newest.generation;
    if (volume->superblock.blocks < volume->newest.blocks) volume->superblock.blocks = volume->newest.blocks;
    return volume->superblock.blocks > volume->block_limit ? -EFBIG : 0;
}

long walk_ensure(struct volume *volume) {
    if (volume->walked) return 0;
    long error = find_durable(volume);
    if (error) return error;
    store_forget(volume);
    table_forget(volume, volume->lost);
    volume->nameless_count = 0;
    error = walk_state(volume);
    if (!error) error = walk_durable(volume);
    if (error) return error;
    store_opened(volume, volume->root.place);
    table_keep(volume, false);
    volume->walked = true;
    return 0;
}
