#include "socket.h"

enum { MOST_AT_ONCE = 0x7ffff000 };

u64 buffers_copy(struct buffers *buffers, u8 *bytes, u64 size, bool into) {
    u64 done = 0;
    while (done < size && buffers->first < buffers->count) {
        const struct vector *vector = &buffers->vector[buffers->first];
        const u64 piece = min_u64(size - done, vector->size - buffers->offset);
        if (into) memcpy(ptr_of(vector->at + buffers->offset), bytes + done, piece);
        else memcpy(bytes + done, ptr_of(vector->at + buffers->offset), piece);
        done += piece;
        buffers->offset += piece;
        if (buffers->offset < vector->size) continue;
        buffers->first++;
        buffers->offset = 0;
    }
    buffers->left -= done;
    return done;
}

static bool are_usable(const struct vector *vector, u64 count, bool written) {
    for (u64 i = 0; i < count; i++) {
        if (!vector[i].size) continue;
        if (written ? !shield_writable(vector[i].at, vector[i].size) : !shield_readable(vector[i].at, vector[i].size)) return false;
    }
    return true;
}

/* The vectors are copied, for another thread of the program may change them. `written`: the runtime writes there. */
long buffers_take(struct buffers *buffers, struct vector *copy, const struct call *call, u64 vectors, u64 count, bool written) {
    struct lock_guard lock;
    *buffers = (struct buffers){.vector = copy, .count = count};
    if (count > VECTORS_MOST) return -EINVAL;
    shield_lock(&lock, call);
    bool usable = !count || shield_readable(vectors, count * sizeof *copy);
    if (usable) memcpy(copy, ptr_of(vectors), count * sizeof *copy);
    usable = usable && are_usable(copy, count, written);
    lock_give(&lock);
    if (!usable) return -EFAULT;
    for (u64 i = 0; i < count; i++) {
        if (copy[i].size >> 63) return -EINVAL;
        buffers->left += copy[i].size;
    }
    if (buffers->left > MOST_AT_ONCE) return -EINVAL; /* the kernel takes a part of so many; no program sends them */
    while (buffers->first < count && !copy[buffers->first].size) buffers->first++;
    return 0;
}
