#include "bytes.h"
#include "socket.h"

struct poll_one { /* struct pollfd */
    int fd;
    short events, happened;
};

enum { A_TENTH = 100000000 /* nanoseconds */, PATIENCE = 50, MICROSECOND = 1000 };

static bool nothing_waits(const struct connection *c) { return c->waiting_at == c->waiting_end; }

/* Before the end of the handshake: kept, as far as there is room. */
static long keep_early(struct connection *c, struct buffers *from) {
    if (!c->early) {
        c->early = socket_block();
        c->early_size = 0;
    }
    if (!c->early) return -ENOBUFS;
    const u64 taken = buffers_copy(from, c->early + c->early_size, min_u64(from->left, EARLY_MOST - c->early_size), false);
    c->early_size += (u32)taken;
    return taken ? (long)taken : -EAGAIN;
}

/* The byte that was reported as not sent comes again. Another one instead: the program has changed its mind about what the peer has
 * got already, and the stream would not be what it believes. */
static long repay(struct connection *c, struct buffers *from) {
    u8 byte;
    if (!c->owes || !buffers_copy(from, &byte, 1, false)) return 0;
    c->owes = false;
    if (byte == c->owed) return 1;
    c->lost = true;
    return -EIO;
}

static long seal_one(struct connection *c, struct buffers *from) {
    if (!connection_has_room(c, TLS_PLAIN_MOST + TLS_OVERHEAD)) return -ENOBUFS;
    u8 *record = c->waiting + c->waiting_end;
    const u64 size = buffers_copy(from, record + TLS_HEADER, min_u64(from->left, TLS_PLAIN_MOST), false);
    c->owed = record[TLS_HEADER + size - 1];
    const size_t sealed = tls_seal(&c->tls, record, size);
    c->waiting_end += (u32)sealed;
    return sealed ? (long)size : -EPIPE;
}

/* As much as the kernel takes, and what is left of the last record beyond it. Bytes, or -errno. */
static long put_there(struct connection *c, int fd, struct buffers *from, u32 flags) {
    long done = 0, n = connection_flush(c, fd, flags);
    if (!failed(n)) n = done = repay(c, from);
    while (!failed(n) && from->left) {
        if (tls_update_is_due(&c->tls)) {
            tls_update(&c->tls);
            connection_queue(c);
        }
        n = seal_one(c, from);
        if (failed(n)) break;
        done += n;
        if (from->left && c->waiting_end + TLS_PLAIN_MOST + TLS_OVERHEAD <= SOCKET_BLOCK) continue; /* two records go at once */
        n = connection_flush(c, fd, flags | (from->left ? MESSAGE_MORE : 0));
    }
    return failed(n) && n != -EAGAIN ? n : done ? done : n;
}

/* What a program with its own loop is told. */
static long part_of(struct connection *c, long done) {
    if (done <= 0 || nothing_waits(c)) return done;
    if (done > 1) {
        c->owes = true;
        return done - 1;
    }
    return done; /* it waits for the next call, or the end */
}

static long wait_for_room(const struct call *call, int fd, struct connection *c) {
    struct poll_one one = {fd, WAIT_WRITABLE, 0};
    u64 limit[2] = {0, 0};
    u32 size = sizeof limit;
    SYS5(__NR_getsockopt, fd, LEVEL_SOCKET, OPTION_SEND_TIME, limit, &size);
    const bool limited = limit[0] || limit[1];
    limit[1] *= MICROSECOND;
    const u64 serial = connection_rest(c);
    shield_unblock(call);
    const long n = SYS5(__NR_ppoll, &one, 1, limited ? limit : NULL, NULL, 0);
    shield_block(call);
    if (!connection_resume(call, fd, c, serial)) return SOCKET_GONE;
    return n ? n : -EAGAIN;
}

static long wait_for_peer(const struct call *call, int fd, struct connection *c, u32 bytes) {
    const u64 serial = connection_rest(c);
    shield_unblock(call);
    const long n = SYS6(__NR_recvfrom, fd, NULL, bytes, MESSAGE_PEEK | MESSAGE_TRUNCATE, NULL, NULL);
    shield_block(call);
    return connection_resume(call, fd, c, serial) ? n : SOCKET_GONE;
}

/* A program with its own loop, which writes more than is kept before its peer has answered. There is room in the kernel, so nothing would
 * ever tell it to go on: it waits here, but not for ever. */
NODISCARD static bool wait_for_answer(const struct call *call, int fd, struct connection *c) {
    struct poll_one one = {fd, WAIT_READABLE, 0};
    const u64 limit[2] = {0, A_TENTH};
    const u64 serial = connection_rest(c);
    shield_unblock(call);
    SYS5(__NR_ppoll, &one, 1, limit, NULL, 0);
    shield_block(call);
    return connection_resume(call, fd, c, serial);
}

struct sending {
    bool in_handshake;
    u32 wants;
};

static long try(struct call *call, int fd, struct connection *c, struct buffers *from, u32 flags, bool may_wait, struct sending *how) {
    struct turn turn;
    connection_enter(&turn, call, c);
    long n = connection_error(c);
    how->in_handshake = false;
    if (!n && !c->tls.connected) {
        n = connection_drive(c, fd);
        how->in_handshake = n == -EAGAIN;
        how->wants = (u32)max_u64(c->wants, 1);
        if (how->in_handshake && !may_wait) n = keep_early(c, from);
    }
    if (!n) {
        n = put_there(c, fd, from, flags);
        if (!may_wait) n = part_of(c, n);
        else if (!from->left && !nothing_waits(c)) n = -EAGAIN;
    }
    connection_leave(&turn, c);
    return n;
}

/* Interrupted: what waits is left for the next call, if a byte can be held back for it. */
static long interrupted(struct call *call, struct connection *c, long done, long error) {
    struct turn turn;
    if (!done) return error;
    connection_enter(&turn, call, c);
    const long told = part_of(c, done);
    connection_leave(&turn, c);
    return told;
}

static long send_at_once(struct call *call, int fd, struct connection *c, struct buffers *from, u32 flags) {
    struct sending how;
    long told = 0;
    for (int patience = PATIENCE;; patience--) {
        const long n = try(call, fd, c, from, flags, false, &how);
        if (n > 0) told += n;
        if (!how.in_handshake || !from->left || !patience || (failed(n) && n != -EAGAIN)) return told ? told : n;
        if (!wait_for_answer(call, fd, c)) return SOCKET_GONE;
    }
}

static long send_all(struct call *call, int fd, struct connection *c, struct buffers *from, u32 flags) {
    const u64 wanted = from->left;
    struct sending how;
    for (;;) {
        long n = try(call, fd, c, from, flags, true, &how);
        const long done = (long)(wanted - from->left);
        if (failed(n) && n != -EAGAIN) return done ? done : n;
        if (!failed(n) && !from->left) return done;
        n = how.in_handshake ? wait_for_peer(call, fd, c, how.wants) : wait_for_room(call, fd, c);
        if (n == SOCKET_GONE) return n;
        if (failed(n)) return interrupted(call, c, done, n);
    }
}

long socket_send(struct call *call, int fd, struct connection *c, struct buffers *from, u32 flags) {
    if (flags & (MESSAGE_OOB | MESSAGE_FAST_OPEN)) return -EOPNOTSUPP;
    if (!from->left) return 0;
    const u32 passed = flags & (MESSAGE_NO_SIGNAL | MESSAGE_MORE);
    return connection_may_wait(fd, flags) ? send_all(call, fd, c, from, passed) : send_at_once(call, fd, c, from, passed);
}
