/* The program's memory, as read(2), write(2) and their kind name it. */
#ifndef CLOISTER_SHIELD_BUFFERS_H
#define CLOISTER_SHIELD_BUFFERS_H

#include "shield.h"

/* A program's buffers: one, or an array of them. */
struct buffers {
    u64 array, count;
    struct {
        u64 at, length;
    } one;
    bool is_array;
};
/* All of read(2), readv(2), write(2), writev(2) and, without an offset, preadv2(2) and pwritev2(2); 0, or the error. */
NODISCARD long buffers_of(const struct call *call, struct buffers *buffers);
/* Bytes in all, or -errno. With the lock held. */
NODISCARD long buffers_size(const struct buffers *buffers);
NODISCARD long buffers_size_now(const struct call *call, const struct buffers *buffers); /* without it: takes and gives it back */
/* Copies so many bytes from `offset` on; false if they may not be read or written. With the lock held. */
NODISCARD bool buffers_get(const struct buffers *buffers, u64 offset, u8 *to, u64 size);
NODISCARD bool buffers_put(const struct buffers *buffers, u64 offset, const u8 *from, u64 size);
NODISCARD bool buffers_writable(const struct buffers *buffers, u64 size);

#endif
