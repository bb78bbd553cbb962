/* Ends of socketpair(2): as pipes, over send(2) and recv(2). What else comes with a message (descriptors, credentials) goes along with its
 * first record, as it is. */
#include <linux/uio.h>

#include "buffers.h"
#include "outside.h"
#include "pipe.h"

enum {
    LOOK = 2 /* MSG_PEEK */, AT_ONCE = 0x40 /* MSG_DONTWAIT */, ALL = 0x100 /* MSG_WAITALL */, NO_SIGNAL = 0x4000, CLOSE_RECEIVED = 0x40000000,
    FROM_PROGRAM = NO_SIGNAL | CLOSE_RECEIVED, KNOWN = LOOK | AT_ONCE | ALL | FROM_PROGRAM,
};

struct message { /* struct msghdr */
    u64 name;
    u32 name_size, unused;
    u64 vectors, count, control, control_size;
    u32 flags, unused2;
};

long stream_look(int fd, u8 *to, u64 size) { return SYS6(__NR_recvfrom, fd, to, size, LOOK | AT_ONCE, 0, 0); }

long stream_await(const struct channel *channel) {
    u8 byte;
    long n = SYS6(__NR_recvfrom, channel->fd, &byte, 1, LOOK, 0, 0);
    return failed(n) ? n : 0;
}

static struct message around(const struct channel *channel, const u64 vector[2]) {
    return (struct message){.vectors = addr_of(vector), .count = 1, .control = channel->control, .control_size = channel->control_size};
}

/* The kernel stops behind what brought descriptors. */
long stream_take_out(struct channel *channel, u8 *to, u64 size) {
    for (u64 done = 0; done < size;) {
        const u64 vector[2] = {addr_of(to), size - done};
        struct message message = around(channel, vector);
        long n = SYS3(__NR_recvmsg, channel->fd, &message, AT_ONCE | (channel->flags & CLOSE_RECEIVED));
        if (n <= 0) break;
        done += (u64)n;
        if (!channel->control) continue;
        channel->flags = message.flags;
        channel->control_size = message.control_size;
        channel->received = true;
    }
    return 0;
}

long stream_send(struct channel *channel, const u8 *from, u64 size, bool at_once) {
    const u64 vector[2] = {addr_of(from), size};
    struct message message = around(channel, vector);
    long n = SYS3(__NR_sendmsg, channel->fd, &message, (channel->flags & NO_SIGNAL) | (at_once ? AT_ONCE : 0U));
    if (n > 0) channel->control = channel->control_size = 0;
    return n;
}

static long set_flags(struct channel *channel, u64 flags) {
    if (flags & ~(u64)KNOWN) return -EOPNOTSUPP;
    channel->at_once = flags & AT_ONCE;
    channel->looks = flags & LOOK;
    channel->all = flags & ALL;
    channel->flags = (u32)flags & FROM_PROGRAM;
    return 0;
}

static long copy_message(const struct call *call, struct message *message) {
    struct lock_guard lock;
    lock_take(&lock, call->frame != NULL);
    bool readable = shield_readable(call->arg[1], sizeof *message);
    if (readable) memcpy(message, ptr_of(call->arg[1]), sizeof *message);
    lock_give(&lock);
    if (!readable) return -EFAULT;
    return message->count > UIO_MAXIOV ? -EMSGSIZE : 0;
}

/* What the kernel would have said of where it came from, and what came along. */
static long tell(const struct call *call, const struct channel *channel, long n) {
    struct message *message = ptr_of(call->arg[1]);
    struct lock_guard lock;
    lock_take(&lock, call->frame != NULL);
    bool writable = shield_writable(call->arg[1], sizeof *message);
    if (writable) {
        message->name_size = 0;
        message->control_size = channel->received ? channel->control_size : 0;
        message->flags = channel->received ? channel->flags : 0;
    }
    lock_give(&lock);
    return writable ? n : -EFAULT;
}

static long with_message(struct call *call, int fd, const struct shielded *entry, bool writes) {
    struct message message = {0};
    struct channel channel = pipe_channel(fd, entry, writes);
    long error = copy_message(call, &message);
    if (!failed(error)) error = set_flags(&channel, (u32)call->arg[2]);
    if (failed(error)) return error;
    const struct buffers buffers = {.array = message.vectors, .count = message.count, .is_array = true};
    channel.control = message.control_size ? message.control : 0;
    channel.control_size = channel.control ? message.control_size : 0;
    if (writes) return message.name_size ? -EISCONN : pipe_write(call, &channel, &buffers);
    long n = pipe_read(call, &channel, &buffers);
    return failed(n) ? n : tell(call, &channel, n);
}

/* recvfrom(2) says that the other end has none. */
static bool no_address(const struct call *call) {
    const u32 none = 0;
    struct lock_guard lock;
    lock_take(&lock, call->frame != NULL);
    bool writable = shield_writable(call->arg[5], sizeof none);
    if (writable) memcpy(ptr_of(call->arg[5]), &none, sizeof none);
    lock_give(&lock);
    return writable;
}

static long with_buffer(struct call *call, int fd, const struct shielded *entry, bool writes) {
    const u64 *a = call->arg;
    struct channel channel = pipe_channel(fd, entry, writes);
    const struct buffers buffers = {.count = 1, .one = {.at = a[1], .length = min_u64(a[2], 0x7ffff000)}};
    long error = set_flags(&channel, (u32)a[3]);
    if (failed(error)) return error;
    if (writes) return a[4] ? -EISCONN : pipe_write(call, &channel, &buffers);
    long n = pipe_read(call, &channel, &buffers);
    return failed(n) || !a[4] || !a[5] || no_address(call) ? n : -EFAULT;
}

long pipe_message_call(struct call *call, int fd, const struct shielded *entry) {
    long refused;
    switch (call->number) {
    case __NR_sendto: return with_buffer(call, fd, entry, true);
    case __NR_recvfrom: return with_buffer(call, fd, entry, false);
    case __NR_sendmsg:
        refused = socket_place_call(call);
        return refused == SHIELD_PASS ? with_message(call, fd, entry, true) : refused;
    case __NR_recvmsg: return with_message(call, fd, entry, false);
    case __NR_sendmmsg:
    case __NR_recvmmsg: return -EOPNOTSUPP;
    default: return SHIELD_PASS;
    }
}
