/* Who holds a connection, and its lock. */
#include "bytes.h"
#include "socket.h"
#include "table.h"

enum { SET_MASK = 2, SPINS = 200, ASK_EVERY = 64, FOR_EVER = 0, NOT_LONG = 2000 };

static void block_signals(struct turn *turn, const struct call *call) {
    turn->blocked = !call || !(call->frame || call->held);
    u64 all = ~0UL;
    if (turn->blocked) SYS4(__NR_rt_sigprocmask, SET_MASK, &all, &turn->signals, 8);
}

/* In a process that was killed with the lock held: what it was doing is not known, so nothing more may be sealed or opened. */
static bool is_gone(u32 thread) { return SYS2(__NR_tkill, thread, 0) == -ESRCH; }

static bool take_lock(struct connection *c, u32 tries_most) {
    const u32 self = (u32)SYS0(__NR_gettid);
    for (u32 tries = 1; tries != tries_most; tries++) {
        u32 holder = 0;
        if (__atomic_compare_exchange_n(&c->holder, &holder, self, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return true;
        if (tries < SPINS) continue;
        SYS0(__NR_sched_yield);
        if (tries % ASK_EVERY || !is_gone(holder)) continue;
        if (!__atomic_compare_exchange_n(&c->holder, &holder, self, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) continue;
        c->lost = true;
        return true;
    }
    return false;
}

void connection_enter(struct turn *turn, const struct call *call, struct connection *c) {
    block_signals(turn, call);
    (void)take_lock(c, FOR_EVER);
}

void connection_leave(struct turn *turn, struct connection *c) {
    __atomic_store_n(&c->holder, 0, __ATOMIC_RELEASE);
    if (turn->blocked) SYS4(__NR_rt_sigprocmask, SET_MASK, &turn->signals, 0, 8);
}

/* The descriptor is new: nobody else uses the connection yet. */
static long begin(struct connection *c, int fd, const struct tls_config *config) {
    c->handshake = (struct tls_handshake *)(void *)socket_block();
    if (!c->handshake) return -ENOBUFS;
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

long connection_make(int fd, const struct tls_config *config, u64 place) {
    struct turn turn;
    long error = -ENOBUFS;
    block_signals(&turn, NULL);
    struct connection *c = socket_connection();
    if (c) c->serial = __builtin_ia32_rdtsc();
    if (c) c->place = (u32)place;
    if (c) error = begin(c, fd, config);
    if (c && failed(error)) socket_connection_drop(c);
    if (turn.blocked) SYS4(__NR_rt_sigprocmask, SET_MASK, &turn.signals, 0, 8);
    return error;
}

static u32 closing; /* the thread that closes a connection, with the lock of `state` */

bool socket_lock_state(struct lock_guard *lock) {
    if (__atomic_load_n(&closing, __ATOMIC_RELAXED) == (u32)SYS0(__NR_gettid)) return false;
    lock_take(lock, false);
    return true;
}

void socket_unlock_state(struct lock_guard *lock, bool taken) {
    if (taken) lock_give(lock);
}

struct connection *connection_pin(const struct call *call, int fd) {
    struct shielded entry;
    struct lock_guard lock;
    shield_lock(&lock, call);
    struct connection *c = table_get((u32)fd, &entry) && entry.kind == SHIELD_SOCKET ? ptr_of(entry.object) : NULL;
    if (c) __atomic_add_fetch(&c->holds, CONNECTION_PIN, __ATOMIC_RELAXED);
    lock_give(&lock);
    return c;
}

static void take_hold_off(struct connection *c, u64 hold) {
    if (!__atomic_sub_fetch(&c->holds, hold, __ATOMIC_ACQ_REL)) socket_connection_drop(c);
}

void connection_let_go(struct connection *c) { take_hold_off(c, CONNECTION_PIN); }

u64 connection_rest(struct connection *c) {
    const u64 serial = c->serial;
    connection_let_go(c);
    return serial;
}

bool connection_resume(const struct call *call, int fd, const struct connection *c, u64 serial) {
    struct connection *now = connection_pin(call, fd);
    if (now && now == c && now->serial == serial) return true;
    if (now) connection_let_go(now);
    return false;
}

/* Its last user has executed another program. One of those who ask is told so. */
bool socket_was_left(struct connection *c) {
    return !__atomic_load_n(&c->holds, __ATOMIC_ACQUIRE) && __atomic_exchange_n(&c->made, false, __ATOMIC_ACQ_REL);
}

void socket_copied(const struct shielded *entry) {
    struct connection *c = ptr_of(entry->object);
    if (!c) return;
    __atomic_add_fetch(&c->holds, CONNECTION_USER, __ATOMIC_RELAXED);
    c->made = true;
}

/* Before the last descriptor is closed: afterwards nothing can be sent. With the lock of `state`, which comes behind a connection's: so
 * there is no waiting for a thread that is busy with what is being closed. */
void socket_closed(int fd, const struct shielded *entry) {
    struct connection *c = ptr_of(entry->object);
    if (!c || (u32)__atomic_load_n(&c->holds, __ATOMIC_ACQUIRE) != 1 || !take_lock(c, NOT_LONG)) return;
    __atomic_store_n(&closing, (u32)SYS0(__NR_gettid), __ATOMIC_RELAXED);
    if (!c->lost) socket_say_goodbye(c, fd);
    __atomic_store_n(&closing, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&c->holder, 0, __ATOMIC_RELEASE);
}

void socket_dropped(const struct shielded *entry) {
    if (entry->object) take_hold_off(ptr_of(entry->object), CONNECTION_USER);
}
