#include "../src/bytes.h"
#include "cache.h"
#include "commit.h"
#include "index.h"
#include "store.h"
#include "superblock.h"
#include "table.h"

enum { FEWEST_FRAMES = 256, BITMAPS = 3, PART_OF_BITMAPS = 4, PART_OF_INDEX = 32 /* of the memory, at most one by so many */ };
static const u64 most_blocks = 1UL << 26 /* 256 GiB */, most_inodes = 1UL << 22;

static void *part(u8 **free, size_t size) {
    void *start = *free;
    *free += (size + 63) / 64 * 64;
    return start;
}

static long lay_out(struct volume *volume, u8 *memory, size_t size) {
    u8 *free = memory, *end = memory + size;
    part(&free, sizeof *volume);
    u64 blocks = size / PART_OF_BITMAPS / BITMAPS * 8 / 512 * 512;
    volume->block_limit = blocks < most_blocks ? blocks : most_blocks;
    volume->inode_limit = most_inodes;
    volume->live = part(&free, volume->block_limit / 8);
    volume->durable_blocks = part(&free, volume->block_limit / 8);
    volume->kept = part(&free, volume->block_limit / 8);
    volume->inode_used = part(&free, most_inodes / 8);
    volume->inode_kept = part(&free, most_inodes / 8);
    if (free >= end) return -ENOMEM;
    u64 frames = (u64)(end - free) / (BLOCK + sizeof(struct frame) + 3 * sizeof(u32) + 1), buckets = 1, slots = 1;
    if (frames < FEWEST_FRAMES + 2 + SCRATCH_FRAMES) return -ENOMEM;
    frames -= 2 + SCRATCH_FRAMES; /* for what rounding takes */
    while (slots * 2 * sizeof *volume->index <= frames * BLOCK / PART_OF_INDEX) slots *= 2;
    frames -= (slots * sizeof *volume->index + BLOCK - 1) / BLOCK;
    while (buckets * 2 <= frames) buckets *= 2;
    volume->frame_count = (u32)frames;
    volume->bucket_mask = (u32)buckets - 1;
    volume->frames = part(&free, frames * sizeof(struct frame));
    volume->buckets = part(&free, buckets * sizeof(u32));
    volume->frames_open = volume->frame_count < FIRST_FRAMES ? volume->frame_count : FIRST_FRAMES;
    volume->ghosts = part(&free, buckets * sizeof(u32));
    volume->ghost_mask = volume->bucket_mask;
    volume->index = part(&free, slots * sizeof *volume->index);
    volume->index_mask = (u32)slots - 1;
    volume->data = (void *)(((uintptr_t)free + 63) / 64 * 64);
    return 0;
}

static long begin(struct volume *volume, const struct volume_io *io, void *memory, size_t size) {
    if (!gcm_is_supported()) return -ENOSYS;
    if (size < sizeof *volume) return -ENOMEM;
    volume->io = *io;
    return lay_out(volume, memory, size);
}

/* What else is in use, and which state is durable, who changes something finds out (walk_ensure). */
static long take_state(struct volume *volume, const struct superblock *state, u64 place, bool lost) {
    struct volume_root root = {.generation = state->generation, .place = place};
    if (state->blocks > volume->block_limit) return -EFBIG;
    superblock_digest(state, root.digest);
    volume->superblock = *state;
    volume->walked = false;
    volume->lost = volume->lost || lost;
    index_forget(volume);
    commit_note(volume, &root);
    return 0;
}

long volume_open(struct volume **opened, const struct volume_io *io, const u8 key[32], const struct volume_root *wanted, void *memory,
                 size_t size) {
    struct volume *volume = memory;
    long error = begin(volume, io, memory, size);
    if (!error) error = wanted ? superblock_read(volume, wanted) : superblock_find(volume, key);
    if (error) return error;
    const struct superblock *state = wanted ? &volume->other : &volume->newest;
    cache_begin(volume, true);
    error = take_state(volume, state, wanted ? wanted->place : state->generation % SUPERBLOCKS, false);
    if (error) return error;
    superblock_derive(volume, key);
    *opened = volume;
    return 0;
}

/* Whoever changed it last may have been stopped in the middle: nothing of the state is believed but where things are, and the keys. */
long volume_reload(struct volume *volume, const struct volume_root *wanted, bool lost) {
    cache_begin(volume, !lost);
    volume->hand = 0;
    volume->nonce_count = 0; /* a number may have been used and not counted */
    long error = superblock_read(volume, wanted);
    if (error) return error;
    if (memcmp(volume->other.identifier, volume->superblock.identifier, sizeof volume->other.identifier)) return -EBADMSG;
    return take_state(volume, &volume->other, wanted->place, lost);
}

static long make_root(struct volume *volume, u32 uid, u32 gid) {
    u64 now = volume->io.now(volume->io.context);
    const struct inode root = {.mode = DIRECTORY | 0755, .links = 1, .uid = uid, .gid = gid, .mtime = now, .ctime = now,
                               .parent = ROOT_INODE};
    long number = table_new(volume, &root);
    return number < 0 ? number : number == ROOT_INODE ? 0 : -EBADMSG;
}

long volume_create(struct volume **opened, const struct volume_io *io, const u8 key[32], bool encrypted, u32 uid, u32 gid, void *memory,
                   size_t size) {
    struct volume *volume = memory;
    long error = begin(volume, io, memory, size);
    if (error) return error;
    volume->superblock = (struct superblock){.mode = encrypted ? MODE_ENCRYPTED : MODE_AUTHENTICATED, .blocks = SUPERBLOCKS};
    io->random(io->context, volume->superblock.identifier, sizeof volume->superblock.identifier);
    superblock_derive(volume, key);
    cache_begin(volume, true);
    store_forget(volume);
    table_forget(volume, false);
    volume->walked = true;
    if (io->reserve) error = io->reserve(io->context, 0, SUPERBLOCKS); /* a commit must not fail for want of a superblock's room */
    if (!error) error = make_root(volume, uid, gid);
    if (!error) error = volume_commit(volume);
    if (!error) *opened = volume;
    return error;
}

void volume_root(const struct volume *volume, struct volume_root *root) { *root = volume->root; }

bool volume_is_encrypted(const struct volume *volume) { return volume->superblock.mode == MODE_ENCRYPTED; }

void volume_space(const struct volume *volume, struct volume_space *space) {
    u64 used = 0;
    for (u64 i = 0; i < (volume->inodes_known + 63) / 64; i++)
        for (u64 bits = volume->inode_used[i]; bits; bits &= bits - 1) used++;
    if (!volume->walked) used = volume->superblock.table_size / sizeof(struct inode); /* at most */
    *space = (struct volume_space){.blocks = volume->superblock.blocks, .free = volume->walked ? volume->spare : 0, .inodes = volume->inode_limit,
                                   .inodes_free = volume->inode_limit - used};
}

void volume_close(struct volume *volume) {
    wipe(&volume->gcm, sizeof volume->gcm);
    wipe(volume->superblock_key, sizeof volume->superblock_key);
}
