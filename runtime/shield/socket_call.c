/* Calls on shielded connections. */
#include "socket.h"

#include <linux/fcntl.h>

enum { FEW = 8, ANY_OFFSET = -1, SET_MASK = 2 };

struct message { /* struct msghdr */
    u64 name;
    u32 name_size, unused;
    u64 vectors, count, control, control_size;
    u32 flags, unused2;
};

static bool sends(u64 number) {
    switch (number) {
    case __NR_write:
    case __NR_writev:
    case __NR_pwritev2:
    case __NR_sendto:
    case __NR_sendmsg: return true;
    default: return false;
    }
}

/* Few vectors stand on the stack, which may be a small one of the program's; many in a block. */
static long transfer(struct call *call, int fd, struct connection *c, u64 vectors, u64 count, u32 flags) {
    struct vector few[FEW];
    struct buffers buffers;
    u8 *block = NULL;
    const bool out = sends(call->number);
    if (count > FEW && !(block = socket_block())) return -ENOBUFS;
    struct vector *copy = block ? (struct vector *)(void *)block : few;
    long result = buffers_take(&buffers, copy, call, vectors, count, !out);
    if (!result) result = out ? socket_send(call, fd, c, &buffers, flags) : socket_receive(call, fd, c, &buffers, flags);
    socket_block_drop(block);
    return result;
}

/* The vector is the runtime's own, so it is not looked for in the program's memory. */
static long transfer_one(struct call *call, int fd, struct connection *c, u64 at, u64 size, u32 flags) {
    const struct vector one = {at, min_u64(size, 0x7ffff000)};
    struct buffers buffers = {.vector = &one, .count = 1, .left = one.size};
    struct lock_guard lock;
    const bool out = sends(call->number);
    shield_lock(&lock, call);
    const bool usable = !one.size || (out ? shield_readable(at, one.size) : shield_writable(at, one.size));
    lock_give(&lock);
    if (!usable) return -EFAULT;
    return out ? socket_send(call, fd, c, &buffers, flags) : socket_receive(call, fd, c, &buffers, flags);
}

static bool read_message(const struct call *call, struct message *message) {
    struct lock_guard lock;
    shield_lock(&lock, call);
    const bool usable = shield_writable(call->arg[1], sizeof *message) ||
                        (call->number == __NR_sendmsg && shield_readable(call->arg[1], sizeof *message));
    if (usable) memcpy(message, ptr_of(call->arg[1]), sizeof *message);
    lock_give(&lock);
    return usable;
}

static long transfer_message(struct call *call, int fd, struct connection *c) {
    struct message message;
    if (!read_message(call, &message)) return -EFAULT;
    const long result = transfer(call, fd, c, message.vectors, message.count, (u32)call->arg[2]);
    if (call->number == __NR_sendmsg || result < 0) return result;
    struct message *told = ptr_of(call->arg[1]);
    told->name_size = told->flags = 0;
    told->control_size = 0;
    return result;
}

/* No address is told of a connected socket: the kernel sets its size to 0. */
static void tell_no_address(const struct call *call) {
    struct lock_guard lock;
    if (!call->arg[4] || !call->arg[5]) return;
    shield_lock(&lock, call);
    if (shield_writable(call->arg[5], sizeof(u32))) *(u32 *)ptr_of(call->arg[5]) = 0;
    lock_give(&lock);
}

static long receive_from(struct call *call, int fd, struct connection *c) {
    const long result = transfer_one(call, fd, c, call->arg[1], call->arg[2], (u32)call->arg[3]);
    if (result >= 0) tell_no_address(call);
    return result;
}

/* With an offset it is not a call for sockets; flags would be promises that nobody keeps. */
static long at_offset(struct call *call, int fd, struct connection *c) {
    if ((long)call->arg[3] != ANY_OFFSET) return -ESPIPE;
    return call->arg[5] ? -EOPNOTSUPP : transfer(call, fd, c, call->arg[1], call->arg[2], 0);
}

static long answer(struct call *call, int fd, struct connection *c) {
    const u64 *a = call->arg;
    switch (call->number) {
    case __NR_read:
    case __NR_write: return transfer_one(call, fd, c, a[1], a[2], 0);
    case __NR_readv:
    case __NR_writev: return transfer(call, fd, c, a[1], a[2], 0);
    case __NR_preadv2:
    case __NR_pwritev2: return at_offset(call, fd, c);
    case __NR_sendto: return transfer_one(call, fd, c, a[1], a[2], (u32)a[3]);
    case __NR_recvfrom: return receive_from(call, fd, c);
    case __NR_sendmsg:
    case __NR_recvmsg: return transfer_message(call, fd, c);
    case __NR_sendfile: return fd == (int)a[0] ? socket_send_file(call, fd, c) : -EINVAL;
    case __NR_splice:
    case __NR_tee:
    case __NR_copy_file_range: return -EINVAL; /* callers read and write instead */
    case __NR_sendmmsg:
    case __NR_recvmmsg: return -EOPNOTSUPP;
    case __NR_shutdown: return socket_shutdown(call, fd, c);
    case __NR_connect: return socket_connect_again(call, fd, c);
    case __NR_getsockopt:
    case __NR_setsockopt: return socket_option(call, fd, c);
    case __NR_ioctl: return socket_control(call, fd, c);
    default: return SHIELD_PASS;
    }
}

/* The state of a connection that another process took along (exec), or that came by itself, is not here. */
static long without_state(const struct call *call) {
    switch (call->number) {
    case __NR_fcntl:
    case __NR_fstat:
    case __NR_getsockopt:
    case __NR_setsockopt:
    case __NR_shutdown: return SHIELD_PASS;
    default: return -EIO;
    }
}

static long with_state(struct call *call, int fd, const struct shielded *entry) {
    struct connection *c = entry->object ? connection_pin(call, fd) : NULL;
    if (!c) return entry->object ? SHIELD_STALE : without_state(call);
    const long result = answer(call, fd, c);
    if (result == SOCKET_GONE) return -EBADF;
    connection_let_go(c);
    return result;
}

/* All signals are blocked once, for all that is locked on the way. */
long socket_call(struct call *call, int fd, const struct shielded *entry) {
    if (call->frame || call->held) return with_state(call, fd, entry);
    u64 signals, all = ~0UL;
    SYS4(__NR_rt_sigprocmask, SET_MASK, &all, &signals, 8);
    call->held = &signals;
    const long result = with_state(call, fd, entry);
    call->held = NULL;
    SYS4(__NR_rt_sigprocmask, SET_MASK, &signals, 0, 8);
    return result;
}
