/* Who holds a connection, and its lock. */
#include "bytes.h"
#include "socket.h"
#include "table.h"

enum { SET_MASK = 2, SPINS = 200, ASK_EVERY = 64 };

static void block_signals(struct turn *turn, const struct call *call) {
    turn->blocked = !call || !call->frame;
    u64 all = ~0UL;
    if (turn->blocked) SYS4(__NR_rt_sigprocmask, SET_MASK, &all, &turn->signals, 8);
}

/* In a process that was killed with the lock held: what it was doing is not known, so nothing more may be sealed or opened. */
static bool is_gone(u32 thread) { return SYS2(__NR_tkill, thread, 0) == -ESRCH; }

static void take_lock(struct connection *c) {
    const u32 self = (u32)SYS0(__NR_gettid);
    for (u32 tries = 1;; tries++) {
        u32 holder = 0;
        if (__atomic_compare_exchange_n(&c->holder, &holder, self, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return;
        if (tries < SPINS) continue;
        SYS0(__NR_sched_yield);
        if (tries % ASK_EVERY || !is_gone(holder)) continue;
        if (!__atomic_compare_exchange_n(&c->holder, &holder, self, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) continue;
        c->lost = true;
        return;
    }
}

void connection_enter(struct turn *turn, const struct call *call, struct connection *c) {
    block_signals(turn, call);
    take_lock(c);
}

void connection_leave(struct turn *turn, struct connection *c) {
    __atomic_store_n(&c->holder, 0, __ATOMIC_RELEASE);
    if (turn->blocked) SYS4(__NR_rt_sigprocmask, SET_MASK, &turn->signals, 0, 8);
}

/* The descriptor is new: nobody else uses the connection yet. */
static long begin(struct connection *c, int fd, const struct tls_config *config) {
    c->handshake = (struct tls_handshake *)(void *)socket_block();
    c->waiting = c->handshake ? socket_block() : NULL;
    if (!c->waiting) return -ENOBUFS;
    if (!tls_start(&c->tls, c->handshake, config)) return -EINVAL;
    c->client = !config->is_server;
    connection_queue(c);
    const struct shielded entry = {.kind = SHIELD_SOCKET, .object = addr_of(c)};
    struct lock_guard lock;
    lock_take(&lock, true);
    const long error = table_put((u32)fd, &entry);
    lock_give(&lock);
    return error;
}

long connection_make(int fd, const struct tls_config *config) {
    struct turn turn;
    long error = -ENOBUFS;
    block_signals(&turn, NULL);
    struct connection *c = socket_connection();
    if (c) error = begin(c, fd, config);
    if (c && failed(error)) socket_connection_drop(c);
    if (turn.blocked) SYS4(__NR_rt_sigprocmask, SET_MASK, &turn.signals, 0, 8);
    return error;
}

/* Its last user has executed another program. One of those who ask is told so. */
bool socket_was_left(struct connection *c) {
    return !__atomic_load_n(&c->users, __ATOMIC_ACQUIRE) && __atomic_exchange_n(&c->made, false, __ATOMIC_ACQ_REL);
}

void socket_copied(const struct shielded *entry) {
    struct connection *c = ptr_of(entry->object);
    if (!c) return;
    __atomic_add_fetch(&c->users, 1, __ATOMIC_RELAXED);
    c->made = true;
}

/* Before the last descriptor is closed: afterwards nothing can be sent. */
void socket_closed(int fd, const struct shielded *entry) {
    struct connection *c = ptr_of(entry->object);
    if (!c || __atomic_load_n(&c->users, __ATOMIC_ACQUIRE) != 1) return;
    take_lock(c);
    if (!c->lost) socket_say_goodbye(c, fd);
    __atomic_store_n(&c->holder, 0, __ATOMIC_RELEASE);
}

void socket_dropped(const struct shielded *entry) {
    struct connection *c = ptr_of(entry->object);
    if (c && !__atomic_sub_fetch(&c->users, 1, __ATOMIC_ACQ_REL)) socket_connection_drop(c);
}
