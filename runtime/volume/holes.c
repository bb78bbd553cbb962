/* Where files have data, and making holes. A block that was never written, or that holds zeros only, is stored nowhere. */
#include "begin.h"
#include "table.h"

enum { CHUNK = 32 }; /* blocks that one step changes: file.c */

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
