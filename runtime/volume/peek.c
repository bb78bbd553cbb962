#include "cache.h"

enum { CHAIN_MOST = 64 };

/* cache_find, but that it trusts nothing it reads: no number leads out of the cache, and no chain on for ever. */
static u32 find(struct volume *volume, u64 object, u64 index) {
    u32 at = __atomic_load_n(cache_bucket(volume, object, 0, index), __ATOMIC_RELAXED);
    for (u32 i = 0; at && at <= volume->frame_count && i < CHAIN_MOST; i++) {
        struct frame *frame = &volume->frames[at - 1];
        __builtin_prefetch(volume->data[at - 1]); /* while the frame's own memory is on its way */
        if (frame->object == object && frame->index == index && !frame->level) {
            if (!frame->referenced) frame->referenced = 1;
            return at - 1;
        }
        at = __atomic_load_n(&frame->next_in_bucket, __ATOMIC_RELAXED);
    }
    return NO_FRAME;
}

/* How much there is to read of a regular file, at most `size`; 0 if that is not known here. */
static u64 readable(struct volume *volume, u64 number, u64 offset, u64 size) {
    u32 frame = find(volume, TABLE, number / INODES_PER_BLOCK);
    if (frame == NO_FRAME) return 0;
    const struct inode *inode = (const struct inode *)(const void *)volume->data[frame] + number % INODES_PER_BLOCK;
    u32 mode = __atomic_load_n(&inode->mode, __ATOMIC_RELAXED);
    u64 end = __atomic_load_n(&inode->size, __ATOMIC_RELAXED);
    if ((mode & TYPE_MASK) != REGULAR || offset >= end) return 0;
    return end - offset < size ? end - offset : size;
}

long volume_peek(struct volume *volume, u64 number, u64 offset, u8 *to, size_t size) {
    u64 all = readable(volume, number, offset, size);
    for (u64 done = 0, piece; done < all; done += piece) {
        u64 at = offset + done, inside = at % BLOCK;
        piece = BLOCK - inside < all - done ? BLOCK - inside : all - done;
        u32 frame = find(volume, number, at / BLOCK);
        if (frame == NO_FRAME) return -EAGAIN;
        memcpy(to + done, volume->data[frame] + inside, piece);
    }
    return all ? (long)all : -EAGAIN;
}
