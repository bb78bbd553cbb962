#include "buffers.h"

#include <linux/uio.h>

static const u64 most_at_once = 0x7ffff000; /* of a single call: MAX_RW_COUNT */
static const u64 here = ~0UL;               /* preadv2's offset for "none" */

struct span { /* struct iovec */
    u64 at, length;
};

long buffers_of(const struct call *call, struct buffers *buffers) {
    const u64 *a = call->arg;
    *buffers = (struct buffers){.count = 1};
    switch (call->number) {
    case __NR_preadv2:
    case __NR_pwritev2:
        if (a[3] != here) return -ESPIPE;
        if (a[5]) return -EOPNOTSUPP;
        break;
    case __NR_readv:
    case __NR_writev: break;
    default:
        buffers->one.at = a[1];
        buffers->one.length = min_u64(a[2], most_at_once);
        return 0;
    }
    buffers->is_array = true;
    buffers->array = a[1];
    buffers->count = a[2];
    return a[2] > UIO_MAXIOV ? -EINVAL : 0;
}

static struct span span_at(const struct buffers *buffers, u64 i) {
    struct span span = {buffers->one.at, buffers->one.length};
    if (buffers->is_array) memcpy(&span, ptr_of(buffers->array + i * sizeof span), sizeof span);
    return span;
}

static bool has_array(const struct buffers *buffers) {
    return !buffers->is_array || shield_readable(buffers->array, buffers->count * sizeof(struct span));
}

long buffers_size(const struct buffers *buffers) {
    u64 size = 0;
    if (!has_array(buffers)) return -EFAULT;
    for (u64 i = 0; i < buffers->count; i++) {
        struct span span = span_at(buffers, i);
        if (span.length >> 63) return -EINVAL;
        size += min_u64(span.length, most_at_once - size);
    }
    return (long)size;
}

long buffers_size_now(const struct call *call, const struct buffers *buffers) {
    struct lock_guard lock;
    lock_take(&lock, call->frame != NULL);
    long size = buffers_size(buffers);
    lock_give(&lock);
    return size;
}

enum what { GET, PUT, TRY };

static bool walk(const struct buffers *buffers, u64 offset, u8 *bytes, u64 size, enum what what) {
    if (!has_array(buffers)) return false;
    for (u64 i = 0; i < buffers->count && size; i++) {
        struct span span = span_at(buffers, i);
        if (offset >= span.length) {
            offset -= span.length;
            continue;
        }
        u64 at = span.at + offset, n = min_u64(span.length - offset, size);
        if (!(what == GET ? shield_readable(at, n) : shield_writable(at, n))) return false;
        if (what == GET) memcpy(bytes, ptr_of(at), n);
        if (what == PUT) memcpy(ptr_of(at), bytes, n);
        bytes += n;
        size -= n;
        offset = 0;
    }
    return size == 0;
}

bool buffers_get(const struct buffers *buffers, u64 offset, u8 *to, u64 size) { return walk(buffers, offset, to, size, GET); }

bool buffers_put(const struct buffers *buffers, u64 offset, const u8 *from, u64 size) {
    u8 *bytes = ptr_of(addr_of(from)); /* only read */
    return walk(buffers, offset, bytes, size, PUT);
}

bool buffers_writable(const struct buffers *buffers, u64 size) { return walk(buffers, 0, NULL, size, TRY); }
