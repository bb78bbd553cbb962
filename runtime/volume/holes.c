/* Where files have data, and making holes. A block that was never written, or that holds zeros only, is stored nowhere. */
#include "begin.h"
#include "table.h"

enum { CHUNK = 32 /* blocks that one step changes: file.c */, NODES_COUNTED = 16 };

static u64 min(u64 a, u64 b) { return a < b ? a : b; }

/* The first block at or after `block` under this node that is stored (or is not, if `hole`); `limit` if there is none. */
static long look(struct volume *volume, u64 object, const struct top *top, u32 level, u64 index, u64 block, u64 limit, bool hole) {
    u64 first = index << (FANOUT_BITS * level), width = 1UL << (FANOUT_BITS * level);
    if (first + width <= block || first >= limit) return (long)limit;
    struct pointer pointer;
    long error = tree_pointer(volume, top, object, level, index, &pointer);
    if (error) return error;
    if (!pointer.physical || !level) {
        bool found = hole == !pointer.physical;
        return (long)(found ? (first > block ? first : block) : limit);
    }
    for (u64 child = 0; child < FANOUT; child++) {
        long found = look(volume, object, top, level - 1, index * FANOUT + child, block, limit, hole);
        if (found < 0 || (u64)found < limit) return found;
    }
    return (long)limit;
}

static long seek(struct volume *volume, u64 number, u64 offset, bool hole) {
    struct inode inode;
    struct top top;
    long error = tree_flush(volume); /* what is not written yet is in no pointer */
    if (!error) error = table_read(volume, number, &inode);
    if (!error) error = table_top(volume, number, &top);
    if (error) return error;
    if ((inode.mode & TYPE_MASK) == DIRECTORY) return -EINVAL;
    if (offset >= inode.size) return -ENXIO;
    u64 limit = (inode.size + BLOCK - 1) / BLOCK;
    long block = look(volume, number, &top, top.levels, 0, offset / BLOCK, limit, hole);
    if (block < 0) return block;
    if ((u64)block >= limit) return hole ? (long)inode.size : -ENXIO; /* behind the end is a hole */
    u64 found = (u64)block * BLOCK;
    return (long)(found > offset ? found : offset);
}

long volume_data_after(struct volume *volume, u64 number, u64 offset) { return seek(volume, number, offset, false); }
long volume_hole_after(struct volume *volume, u64 number, u64 offset) { return seek(volume, number, offset, true); }

struct count {
    u64 object, limit; /* limit: blocks of the file */
    struct top top;
    u32 nodes;         /* so many more may be looked at; all below others counts as stored */
};

/* Blocks below this node that a pointer leads to. */
static u64 pointed(struct volume *volume, struct count *count, u32 level, u64 index) {
    u64 first = index << (FANOUT_BITS * level), stored = 0;
    if (first >= count->limit) return 0;
    u64 width = min(1UL << (FANOUT_BITS * level), count->limit - first);
    struct pointer pointer;
    if (tree_pointer(volume, &count->top, count->object, level, index, &pointer)) return width;
    if (!pointer.physical && (!level || cache_find(volume, count->object, level, index) == NO_FRAME)) return 0;
    if (!level || !count->nodes) return width;
    count->nodes--;
    for (u64 child = 0; child < FANOUT; child++) stored += pointed(volume, count, level - 1, index * FANOUT + child);
    return stored;
}

/* Those that are not written yet; some of them may take the place of stored ones. */
static u64 unwritten(const struct volume *volume, u64 object) {
    u64 found = 0;
    for (u32 at = volume->dirty_first[0]; at != NO_FRAME; at = volume->frames[at].dirty_next) found += volume->frames[at].object == object;
    return found;
}

u64 volume_stored(struct volume *volume, u64 number, const struct inode *status) {
    u64 blocks = (status->size + BLOCK - 1) / BLOCK;
    struct count count = {.object = number, .limit = blocks, .nodes = NODES_COUNTED};
    if (table_top(volume, number, &count.top)) return blocks;
    u64 stored = pointed(volume, &count, count.top.levels, 0);
    return stored < blocks ? min(blocks, stored + unwritten(volume, number)) : stored;
}

static long clear(struct volume *volume, u64 number, u64 offset, u64 end) {
    long error = volume_begin(volume);
    for (u64 at = offset; !error && at < end;) {
        u64 piece = min(BLOCK - at % BLOCK, end - at);
        long frame = tree_change(volume, number, at / BLOCK);
        if (frame < 0) return frame;
        memset(volume->data[frame] + at % BLOCK, 0, piece);
        at += piece;
    }
    return error;
}

long volume_punch(struct volume *volume, u64 number, u64 offset, u64 size) {
    struct inode inode;
    long error = table_read(volume, number, &inode);
    if (error) return error;
    if ((inode.mode & TYPE_MASK) != REGULAR) return -ENODEV;
    u64 end = size < inode.size ? min(offset + size, inode.size) : inode.size;
    for (u64 at = offset; !error && at < end;) {
        long data = volume_data_after(volume, number, at);
        if (data == -ENXIO || (data >= 0 && (u64)data >= end)) break;
        if (data < 0) return data;
        at = (u64)data;
        u64 piece = min(end - at, CHUNK * BLOCK - at % BLOCK);
        error = clear(volume, number, at, at + piece);
        at += piece;
    }
    return error ? error : volume_stamp(volume, number);
}
