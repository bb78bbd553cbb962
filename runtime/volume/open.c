#include "../src/bytes.h"
#include "../src/hmac.h"
#include "begin.h"
#include "store.h"
#include "table.h"

enum { FEWEST_FRAMES = 256, SCRATCH_OF_INODES = LEVELS };
static const u64 most_blocks = 1UL << 26 /* 256 GiB */, most_inodes = 1UL << 22;
static const u8 magic[8] = {'C', 'L', 'O', 'I', 'V', 'O', 'L', 'M'};

/* HKDF-SHA-256 with the volume's identifier as salt; one block of output. */
static void derive(u8 made[32], const u8 key[32], const u8 identifier[16], const char *purpose, size_t length) {
    struct hmac hmac;
    u8 extracted[32];
    hmac_start(&hmac, identifier, 16);
    hmac_add(&hmac, key, 32);
    hmac_finish(&hmac, extracted);
    hmac_start(&hmac, extracted, 32);
    hmac_add(&hmac, "cloister volume 1 ", 18);
    hmac_add(&hmac, purpose, length);
    hmac_add(&hmac, (u8[]){1}, 1);
    hmac_finish(&hmac, made);
    wipe(extracted, sizeof extracted);
}

static void tag_of(const u8 key[32], const struct superblock *superblock, u8 tag[32]) {
    struct hmac hmac;
    hmac_start(&hmac, key, 32);
    hmac_add(&hmac, superblock, TAGGED);
    hmac_finish(&hmac, tag);
}

static void note_committed(struct volume *volume) {
    struct sha256 hash;
    volume->root.generation = volume->superblock.generation;
    sha256_start(&hash);
    sha256_add(&hash, &volume->superblock, sizeof volume->superblock);
    sha256_finish(&hash, volume->root.digest);
    volume->committed_table = volume->superblock.table_root;
    store_committed(volume);
}

/* Whether the superblock at `number` is right. Everything but the tag is checked after it. */
static bool is_right(const struct superblock *superblock, u32 number, const u8 key[32]) {
    u8 derived[32], tag[32], difference = 0;
    if (memcmp(superblock->magic, magic, sizeof magic) || superblock->version != 1) return false;
    derive(derived, key, superblock->identifier, "superblock", 10);
    tag_of(derived, superblock, tag);
    wipe(derived, sizeof derived);
    for (size_t i = 0; i < sizeof tag; i++) difference |= (u8)(tag[i] ^ superblock->tag[i]);
    if (difference) return false;
    bool known = superblock->mode == MODE_ENCRYPTED || superblock->mode == MODE_AUTHENTICATED;
    return known && superblock->generation % SUPERBLOCKS == number && superblock->blocks >= SUPERBLOCKS &&
           superblock->table_levels == levels_for(superblock->table_size) && superblock->table_levels < LEVELS &&
           superblock->table_size % sizeof(struct inode) == 0;
}

static long choose_superblock(struct volume *volume, const u8 key[32]) {
    struct superblock *read = (struct superblock *)(void *)volume->data[0];
    bool found = false;
    for (u32 number = 0; number < SUPERBLOCKS; number++) {
        long error = volume->io.read(volume->io.context, number, (u8 *)read);
        if (error == -EBADMSG) continue;
        if (error < 0) return error;
        if (!is_right(read, number, key)) continue;
        if (found && memcmp(read->identifier, volume->superblock.identifier, sizeof read->identifier)) return -EBADMSG;
        if (!found || read->generation > volume->superblock.generation) volume->superblock = *read;
        found = true;
    }
    return found ? 0 : -EBADMSG;
}

typedef long visitor(struct volume *volume, u64 index, const u8 *block);

/* Claims every block of an object; data blocks are read only where somebody wants to see them. `scratch` is a frame for each level. */
static long walk(struct volume *volume, u64 object, const struct top *top, u64 index, u32 scratch, visitor *visit) {
    if (!top->root.physical) return 0;
    long error = store_claim(volume, top->root.physical);
    if (error || (!top->levels && !visit)) return error;
    u8 *block = volume->data[scratch + top->levels];
    error = store_load(volume, &top->root, (struct place){object, index, top->levels}, block);
    if (error) return error;
    if (!top->levels) return visit(volume, index, block);
    for (u64 child = 0; child < FANOUT && !error; child++) {
        struct top below = {.levels = top->levels - 1};
        memcpy(&below.root, block + child * sizeof below.root, sizeof below.root);
        error = walk(volume, object, &below, index * FANOUT + child, scratch, visit);
    }
    return error;
}

static bool is_right_inode(const struct inode *inode) {
    u32 type = inode->mode & TYPE_MASK;
    if ((type != REGULAR && type != DIRECTORY && type != LINK) || inode->mode >> 16) return false;
    if (inode->levels > LEVELS - 1 || inode->levels != levels_for(inode->size)) return false;
    return type != DIRECTORY || inode->size % BLOCK == 0;
}

static long visit_inodes(struct volume *volume, u64 index, const u8 *block) {
    for (u64 i = 0; i < INODES_PER_BLOCK; i++) {
        struct inode inode;
        u64 number = index * INODES_PER_BLOCK + i;
        memcpy(&inode, block + i * sizeof inode, sizeof inode);
        if (!inode.mode) continue;
        if (!is_right_inode(&inode) || !number || number >= volume->inode_limit) return -EBADMSG;
        volume->inode_used[number / 64] |= 1UL << (number % 64);
        struct top top = {inode.levels, inode.root};
        long error = walk(volume, number, &top, 0, SCRATCH_OF_INODES, NULL);
        if (error) return error;
    }
    return 0;
}

/* Files that had no name but were open when the volume was last committed. */
static long release_nameless(struct volume *volume) {
    for (u64 number = ROOT_INODE + 1; number < volume->superblock.table_size / sizeof(struct inode); number++) {
        if (!(volume->inode_used[number / 64] >> (number % 64) & 1)) continue;
        long error = volume_release(volume, number); /* does nothing to what has a name */
        if (error) return error;
    }
    return 0;
}

static void *part(u8 **free, size_t size) {
    void *start = *free;
    *free += (size + 63) / 64 * 64;
    return start;
}

static long lay_out(struct volume *volume, u8 *memory, size_t size) {
    u8 *free = memory, *end = memory + size;
    part(&free, sizeof *volume);
    volume->block_limit = most_blocks;
    volume->inode_limit = most_inodes;
    volume->live = part(&free, most_blocks / 8);
    volume->committed = part(&free, most_blocks / 8);
    volume->inode_used = part(&free, most_inodes / 8);
    if (free >= end) return -ENOMEM;
    u64 frames = (u64)(end - free) / (BLOCK + sizeof(struct frame) + 2 * sizeof(u32) + 1), buckets = 1;
    if (frames < FEWEST_FRAMES + 2) return -ENOMEM;
    frames -= 2; /* for what rounding takes */
    while (buckets * 2 <= frames) buckets *= 2;
    volume->frame_count = (u32)frames;
    volume->bucket_mask = (u32)buckets - 1;
    volume->frames = part(&free, frames * sizeof(struct frame));
    volume->buckets = part(&free, buckets * sizeof(u32));
    volume->data = (void *)(((uintptr_t)free + 63) / 64 * 64);
    return 0;
}

long volume_open(struct volume **opened, const struct volume_io *io, const u8 key[32], void *memory, size_t size) {
    struct volume *volume = memory;
    if (!gcm_is_supported()) return -ENOSYS;
    if (size < sizeof *volume) return -ENOMEM;
    volume->io = *io;
    long error = lay_out(volume, memory, size);
    if (!error) error = choose_superblock(volume, key);
    if (error) return error;
    if (volume->superblock.blocks > volume->block_limit) return -EFBIG;
    u8 derived[32];
    derive(derived, key, volume->superblock.identifier, "blocks", 6);
    gcm_init(&volume->gcm, derived);
    wipe(derived, sizeof derived);
    derive(volume->superblock_key, key, volume->superblock.identifier, "superblock", 10);
    volume->live[0] = volume->inode_used[0] = 1; /* no block is 0, no inode either; block 1 is the other superblock */
    volume->live[0] |= 2;
    struct top top = {volume->superblock.table_levels, volume->superblock.table_root};
    error = walk(volume, TABLE, &top, 0, 0, visit_inodes);
    if (!error && !(volume->inode_used[0] >> ROOT_INODE & 1)) error = -EBADMSG;
    if (error) return error;
    note_committed(volume);
    cache_begin(volume);
    volume->next_free = SUPERBLOCKS;
    *opened = volume;
    return release_nameless(volume);
}

long volume_begin(struct volume *volume) {
    return volume->dirty_count > volume->frame_count / 2 - OPERATION_FRAMES ? tree_flush(volume) : 0;
}

long volume_commit(struct volume *volume) {
    long error = tree_flush(volume);
    bool changed = memcmp(&volume->committed_table, &volume->superblock.table_root, sizeof volume->committed_table);
    if (error || !changed) return error;
    error = volume->io.sync(volume->io.context);
    if (error < 0) return error;
    struct superblock next = volume->superblock;
    next.generation++;
    tag_of(volume->superblock_key, &next, next.tag);
    error = volume->io.write(volume->io.context, next.generation % SUPERBLOCKS, (const u8 *)&next);
    if (error >= 0) error = volume->io.sync(volume->io.context);
    if (error < 0) return error;
    volume->superblock = next;
    note_committed(volume);
    return 0;
}

void volume_root(const struct volume *volume, struct volume_root *root) { *root = volume->root; }

void volume_close(struct volume *volume) {
    wipe(&volume->gcm, sizeof volume->gcm);
    wipe(volume->superblock_key, sizeof volume->superblock_key);
}
