/* Options of shielded connections. What would move bytes past the shield is refused. */
#include "socket.h"

enum { BYTES_THERE = 0x541b /* FIONREAD */, LEAST_BUFFER = 128 << 10 };

static bool is_usable(const struct call *call, u64 address, u64 size, bool written) {
    struct lock_guard lock;
    shield_lock(&lock, call);
    const bool usable = written ? shield_writable(address, size) : shield_readable(address, size);
    lock_give(&lock);
    return usable;
}

/* A nonblocking client asks how connecting went: now its first message can go. */
static long tell_error(const struct call *call, int fd, struct connection *c) {
    const u64 *a = call->arg;
    const long result = SYS5(__NR_getsockopt, fd, a[1], a[2], a[3], a[4]);
    if (result || !is_usable(call, a[3], sizeof(u32), false) || *(u32 *)ptr_of(a[3])) return result;
    struct turn turn;
    connection_enter(&turn, call, c);
    if (!c->tls.connected && !connection_error(c)) (void)!connection_flush(c, fd, MESSAGE_NO_SIGNAL);
    connection_leave(&turn, c);
    return result;
}

static long tell_low(const struct call *call) {
    const u64 *a = call->arg;
    if (!is_usable(call, a[3], sizeof(u32), true) || !is_usable(call, a[4], sizeof(u32), true)) return -EFAULT;
    *(u32 *)ptr_of(a[3]) = 1;
    *(u32 *)ptr_of(a[4]) = sizeof(u32);
    return 0;
}

static bool is_past_the_shield(u32 level, u32 option) {
    if (level == LEVEL_TCP) return option == OPTION_TCP_REPAIR || option == OPTION_TCP_ULP || option == OPTION_TCP_ZERO_COPY;
    return level == LEVEL_SOCKET && (option == OPTION_PEEK_OFFSET || option == OPTION_ZERO_COPY);
}

/* A record that does not fit into the kernel's queue would never be complete. */
long socket_option_new(const struct call *call) {
    const u64 *a = call->arg;
    const u32 level = (u32)a[1], option = (u32)a[2];
    u32 size = LEAST_BUFFER;
    if (call->number != __NR_setsockopt) return SHIELD_PASS;
    if (is_past_the_shield(level, option)) return -EOPNOTSUPP;
    if (level != LEVEL_SOCKET || (option != OPTION_RECEIVE_BUFFER && option != OPTION_RECEIVE_BUFFER_FORCED)) return SHIELD_PASS;
    if (a[4] < sizeof(u32) || !is_usable(call, a[3], sizeof(u32), false) || *(u32 *)ptr_of(a[3]) >= LEAST_BUFFER) return SHIELD_PASS;
    return SYS5(__NR_setsockopt, a[0], level, option, &size, sizeof size);
}

long socket_option(struct call *call, int fd, struct connection *c) {
    const u64 *a = call->arg;
    const u32 level = (u32)a[1], option = (u32)a[2];
    const bool low = level == LEVEL_SOCKET && option == OPTION_RECEIVE_LOW;
    if (is_past_the_shield(level, option)) return -EOPNOTSUPP;
    if (call->number == __NR_setsockopt) return low ? 0 : socket_option_new(call);
    if (low) return tell_low(call);
    return level == LEVEL_SOCKET && option == OPTION_ERROR ? tell_error(call, fd, c) : SHIELD_PASS;
}

/* Only this record is counted, and more may stand behind it: a program that waits for edges is told once more. */
long socket_control(struct call *call, int fd, struct connection *c) {
    struct turn turn;
    if ((u32)call->arg[1] != BYTES_THERE) return SHIELD_PASS;
    if (!is_usable(call, call->arg[2], sizeof(u32), true)) return -EFAULT;
    connection_enter(&turn, call, c);
    long n = 1;
    while (n == 1 && !c->plain) n = connection_step(c, fd);
    *(u32 *)ptr_of(call->arg[2]) = c->plain ? c->plain_end - c->plain_at : 0;
    if (c->plain) connection_ring(c, fd);
    connection_leave(&turn, c);
    return 0;
}
