/* Contents and attributes of files. */
#include "begin.h"
#include "store.h"
#include "table.h"

static const u64 size_limit = 1UL << 44; /* what pointers of 32 bits can reach */
enum { CHUNK = 32 }; /* blocks that one step of a write changes, with the nodes above less than OPERATION_FRAMES */

static u64 min(u64 a, u64 b) { return a < b ? a : b; }
static u64 now(const struct volume *volume) { return volume->io.now(volume->io.context); }

long volume_status(struct volume *volume, u64 number, struct inode *status) { return table_read(volume, number, status); }

long volume_set_owner(struct volume *volume, u64 number, u32 mode, u32 uid, u32 gid) {
    struct inode inode;
    long error = volume_begin(volume);
    if (!error) error = table_read(volume, number, &inode);
    if (error) return error;
    inode.mode = (inode.mode & TYPE_MASK) | (mode & 07777);
    inode.uid = uid;
    inode.gid = gid;
    inode.ctime = now(volume);
    return table_write(volume, number, &inode);
}

long volume_set_time(struct volume *volume, u64 number, u64 mtime) {
    struct inode inode;
    long error = volume_begin(volume);
    if (!error) error = table_read(volume, number, &inode);
    if (error) return error;
    inode.mtime = mtime;
    inode.ctime = now(volume);
    return table_write(volume, number, &inode);
}

long volume_read(struct volume *volume, u64 number, u64 offset, u8 *to, size_t size) {
    struct inode inode;
    long error = table_read(volume, number, &inode);
    if (error) return error;
    if (offset >= inode.size) return 0;
    u64 end = offset + min(size, inode.size - offset);
    for (u64 at = offset; at < end;) {
        u64 inside = at % BLOCK, piece = min(BLOCK - inside, end - at);
        long frame = tree_get(volume, number, 0, at / BLOCK);
        if (frame < 0) return at > offset ? (long)(at - offset) : frame;
        memcpy(to + (at - offset), volume->data[frame] + inside, piece);
        at += piece;
    }
    return (long)(end - offset);
}

static long set_size(struct volume *volume, u64 number, u64 size, bool always) {
    struct inode inode;
    long error = table_read(volume, number, &inode);
    if (error || (!always && size <= inode.size)) return error;
    error = tree_resize(volume, number, inode.size, size);
    if (!error) error = table_read(volume, number, &inode); /* its tree may be another */
    if (error) return error;
    inode.size = size;
    return table_write(volume, number, &inode);
}

/* Frames that are written over completely need not be read. */
static long frame_for(struct volume *volume, u64 number, u64 block, bool whole) {
    if (!whole || cache_find(volume, number, 0, block) != NO_FRAME) return tree_change(volume, number, block);
    u32 frame = cache_take(volume, number, 0, block);
    cache_dirty(volume, frame);
    return frame;
}

static long write_chunk(struct volume *volume, u64 number, u64 offset, const u8 *from, size_t size) {
    long error = volume_begin(volume);
    if (!error) error = store_reserve(volume, OPERATION_FRAMES);
    if (!error) error = set_size(volume, number, offset + size, false);
    for (u64 at = offset; !error && at < offset + size;) {
        u64 inside = at % BLOCK, piece = min(BLOCK - inside, offset + size - at);
        long frame = frame_for(volume, number, at / BLOCK, piece == BLOCK);
        if (frame < 0) return frame;
        memcpy(volume->data[frame] + inside, from + (at - offset), piece);
        at += piece;
    }
    return error;
}

long volume_stamp(struct volume *volume, u64 number) {
    struct inode inode;
    long error = table_read(volume, number, &inode);
    if (error) return error;
    inode.mtime = inode.ctime = now(volume);
    return table_write(volume, number, &inode);
}

long volume_write(struct volume *volume, u64 number, u64 offset, const u8 *from, size_t size) {
    struct inode inode;
    long error = table_read(volume, number, &inode);
    if (error || !size) return error;
    if ((inode.mode & TYPE_MASK) == DIRECTORY) return -EISDIR;
    if (offset > size_limit || size > size_limit - offset) return -EFBIG;
    u64 done = 0;
    while (done < size && !error) {
        u64 piece = min(size - done, CHUNK * BLOCK - (offset + done) % BLOCK);
        error = write_chunk(volume, number, offset + done, from + done, piece);
        if (!error) done += piece;
    }
    if (done) error = volume_stamp(volume, number);
    return error ? error : (long)done;
}

long volume_resize(struct volume *volume, u64 number, u64 size) {
    struct inode inode;
    long error = volume_begin(volume);
    if (!error) error = table_read(volume, number, &inode);
    if (error) return error;
    if ((inode.mode & TYPE_MASK) == DIRECTORY) return -EISDIR;
    if (size > size_limit) return -EFBIG;
    if (size < inode.size && size % BLOCK) { /* what is behind the end must be zero */
        long frame = tree_change(volume, number, size / BLOCK);
        if (frame < 0) return frame;
        memset(volume->data[frame] + size % BLOCK, 0, BLOCK - size % BLOCK);
    }
    error = set_size(volume, number, size, true);
    return error ? error : volume_stamp(volume, number);
}
