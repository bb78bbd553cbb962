#include "bytes.h"
#include "socket.h"

/* From the record that is open. What was taken completely, leaves the kernel's queue. */
static void deliver(struct connection *c, int fd, struct buffers *to, u32 flags) {
    const u32 there = c->plain_end - c->plain_at;
    if (flags & MESSAGE_PEEK) {
        buffers_copy(to, c->plain + c->plain_at, min_u64(there, to->left), true);
        return;
    }
    c->plain_at += (u32)buffers_copy(to, c->plain + c->plain_at, min_u64(there, to->left), true);
    if (c->plain_at < c->plain_end) return;
    const u32 queued = c->plain_queued;
    connection_drop_plain(c);
    connection_discard(c, fd, queued);
}

/* As much as is there and fits. 0: the end; or -errno, if there is nothing before it. */
static long take_there(struct connection *c, int fd, struct buffers *to, u32 flags) {
    const u64 wanted = to->left;
    for (;;) {
        const long n = connection_step(c, fd);
        if (n <= 0 && to->left == wanted) return n;
        if (n <= 0) {
            if (n != -EAGAIN) connection_ring(c, fd); /* whoever got less than it asked for, waits for the next edge */
            return (long)(wanted - to->left);
        }
        if (!c->plain) continue;
        deliver(c, fd, to, flags);
        if (!to->left || flags & MESSAGE_PEEK) return (long)(wanted - to->left);
    }
}

/* The kernel waits, and says itself what signals and time limits mean. */
static long wait_for_more(const struct call *call, int fd, struct connection *c, u32 bytes) {
    const u64 serial = connection_rest(c);
    shield_unblock(call);
    const long n = SYS6(__NR_recvfrom, fd, NULL, bytes, MESSAGE_PEEK | MESSAGE_TRUNCATE, NULL, NULL);
    shield_block(call);
    return connection_resume(call, fd, c, serial) ? n : SOCKET_GONE;
}

/* Discarded instead of delivered. */
static struct buffers nowhere(struct buffers *to, struct vector *scratch, u8 *block) {
    *scratch = (struct vector){addr_of(block), min_u64(to->left, SOCKET_BLOCK)};
    return (struct buffers){.vector = scratch, .count = 1, .left = scratch->size};
}

static long receive(struct call *call, int fd, struct connection *c, struct buffers *to, u32 flags) {
    const u64 wanted = to->left;
    for (;;) {
        struct turn turn;
        connection_enter(&turn, call, c);
        long n = take_there(c, fd, to, flags);
        const u32 wants = c->wants;
        connection_leave(&turn, c);
        const long total = (long)(wanted - to->left);
        if (n >= 0 && (n == 0 || !to->left || !(flags & MESSAGE_WAIT_ALL) || flags & MESSAGE_PEEK)) return total;
        if (n < 0 && n != -EAGAIN) return total ? total : n;
        if (!connection_may_wait(fd, flags)) return total ? total : -EAGAIN;
        n = wait_for_more(call, fd, c, (u32)max_u64(wants, 1));
        if (n == SOCKET_GONE) return n;
        if (failed(n)) return total ? total : n;
    }
}

long socket_receive(struct call *call, int fd, struct connection *c, struct buffers *to, u32 flags) {
    if (flags & MESSAGE_OOB) return -EINVAL;
    if (flags & MESSAGE_ERRORS) return -EAGAIN; /* of what is sent without copying: nothing is */
    if (!to->left) return 0;
    if (!(flags & MESSAGE_TRUNCATE)) return receive(call, fd, c, to, flags);
    u8 *block = socket_block();
    struct vector scratch;
    if (!block) return -ENOBUFS;
    struct buffers none = nowhere(to, &scratch, block);
    const long n = receive(call, fd, c, &none, flags & ~(u32)MESSAGE_WAIT_ALL);
    wipe(block, SOCKET_BLOCK);
    socket_block_drop(block);
    return n;
}
