#include "commit.h"

#include "store.h"
#include "superblock.h"
#include "table.h"
#include "tree.h"
#include "walk.h"

static const size_t tag_size = 32;

long volume_begin(struct volume *volume) {
    if (!volume->walked) return walk_ensure(volume);
    return volume->dirty_count > volume->frames_open / 2 - OPERATION_FRAMES ? tree_flush(volume) : 0;
}

long volume_prepare(struct volume *volume) { return walk_ensure(volume); }

void commit_note(struct volume *volume, const struct volume_root *root) {
    volume->root = *root;
    volume->root_table = volume->superblock.table_root;
}

bool volume_is_changed(const struct volume *volume) {
    return volume->dirty_count || memcmp(&volume->root_table, &volume->superblock.table_root, sizeof volume->root_table);
}

static void prepare(struct volume *volume, u64 generation, bool tagged) {
    volume->other = volume->superblock;
    volume->other.generation = generation;
    memcpy(volume->other.writer, volume->writer, sizeof volume->writer);
    memset(volume->other.tag, 0, tag_size);
    if (tagged) superblock_write_tag(volume, &volume->other);
}

static void finish(struct volume *volume, u64 place) {
    struct volume_root root = {.generation = volume->other.generation, .place = place};
    superblock_digest(&volume->other, root.digest);
    volume->superblock = volume->other;
    commit_note(volume, &root);
}

static u64 newest(const struct volume *volume) {
    return volume->root.generation > volume->durable ? volume->root.generation : volume->durable;
}

/* Never over the superblock of the newest committed state. */
static u64 next_durable(const struct volume *volume) {
    u64 next = newest(volume) + 1;
    return next % SUPERBLOCKS == volume->durable % SUPERBLOCKS ? next + 1 : next;
}

long volume_commit(struct volume *volume) {
    long error = tree_flush(volume);
    if (error || (!volume_is_changed(volume) && volume->root.place < SUPERBLOCKS && volume->root.generation)) return error;
    error = walk_ensure(volume);
    if (!error) error = volume->io.sync(volume->io.context);
    if (error < 0) return error;
    prepare(volume, next_durable(volume), true);
    u64 place = volume->other.generation % SUPERBLOCKS;
    error = volume->io.write(volume->io.context, place, (const u8 *)&volume->other);
    if (error >= 0) error = volume->io.sync(volume->io.context);
    if (error < 0) return error;
    volume->durable = volume->other.generation;
    finish(volume, place);
    store_committed(volume);
    table_keep(volume, true);
    return 0;
}

long volume_publish(struct volume *volume) {
    long error = tree_flush(volume);
    if (error || !volume_is_changed(volume)) return error;
    long place = store_place(volume);
    if (place < 0) return place;
    prepare(volume, newest(volume) + 1, false);
    error = volume->io.write(volume->io.context, (u64)place, (const u8 *)&volume->other);
    if (error < 0) return error;
    finish(volume, (u64)place);
    store_published(volume, (u64)place);
    table_keep(volume, false);
    return 0;
}

/* Files that had no name but were open when the volume was last committed. */
long volume_forget_nameless(struct volume *volume) {
    long error = walk_ensure(volume);
    if (error) return error;
    for (u64 number = ROOT_INODE + 1; number < volume->inodes_known; number++) {
        if (!(volume->inode_used[number / 64] >> (number % 64) & 1)) continue;
        error = volume_release(volume, number); /* does nothing to what has a name */
        if (error && error != -ESTALE) return error;
    }
    return 0;
}

u64 volume_nameless(const struct volume *volume, u64 index) { return index < volume->nameless_count ? volume->nameless[index] : 0; }
