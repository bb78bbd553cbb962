/* Record by record, without waiting. */
#include "bytes.h"
#include "socket.h"

struct poll_one { /* struct pollfd */
    int fd;
    short events, happened;
};

static bool has_happened(int fd, short event) {
    struct poll_one one = {fd, event, 0};
    static const u64 at_once[2];
    return SYS5(__NR_ppoll, &one, 1, at_once, NULL, 0) == 1 && one.happened & event;
}

bool connection_may_wait(int fd, u32 flags) {
    if (flags & MESSAGE_DONT_WAIT) return false;
    const long status = SYS2(__NR_fcntl, fd, 3 /* F_GETFL */);
    return !failed(status) && !(status & 04000 /* O_NONBLOCK */);
}

/* What a program understands of it: it was tampered with, or the peer is another, or has stopped. */
long connection_error(const struct connection *c) {
    if (c->lost) return -EIO;
    if (!c->tls.broken) return 0;
    if (c->tls.from_peer) return -ECONNRESET;
    return c->tls.connected ? -EBADMSG : -ECONNABORTED;
}

static void want(struct connection *c, int fd, u32 bytes) {
    if (c->wants == bytes) return;
    c->wants = bytes;
    SYS5(__NR_setsockopt, fd, LEVEL_SOCKET, OPTION_RECEIVE_LOW, &bytes, sizeof bytes);
}

/* Setting the option makes the kernel look whether there is enough, and say so. */
void connection_ring(const struct connection *c, int fd) {
    SYS5(__NR_setsockopt, fd, LEVEL_SOCKET, OPTION_RECEIVE_LOW, &c->wants, sizeof c->wants);
}

/* Whatever comes next is at least that long. */
static void want_least(struct connection *c, int fd) { want(c, fd, c->tls.connected ? LEAST_RECORD : LEAST_OPENING); }

void connection_discard(struct connection *c, int fd, u32 size) {
    while (size) {
        const long n = SYS6(__NR_recvfrom, fd, NULL, size, MESSAGE_TRUNCATE | MESSAGE_DONT_WAIT, NULL, NULL);
        if (failed(n) || !n) break; /* somebody else took it: the next record will not open */
        size -= (u32)n;
    }
    want_least(c, fd);
}

void connection_drop_plain(struct connection *c) {
    if (c->plain) wipe(c->plain, c->plain_end);
    socket_block_drop(c->plain);
    c->plain = NULL;
    c->plain_at = c->plain_end = 0;
}

bool connection_has_room(struct connection *c, u32 size) {
    if (!c->waiting) c->waiting = socket_block();
    return c->waiting && c->waiting_end + size <= SOCKET_BLOCK;
}

static void add_waiting(struct connection *c, const u8 *bytes, u32 size) {
    memcpy(c->waiting + c->waiting_end, bytes, size);
    c->waiting_end += size;
}

/* What the program wrote early goes behind the handshake's last message. */
static void queue_early(struct connection *c) {
    if (!c->early || !c->tls.connected || c->tls.broken) return;
    if (!connection_has_room(c, c->early_size + TLS_OVERHEAD)) return;
    u8 *record = c->waiting + c->waiting_end;
    memcpy(record + TLS_HEADER, c->early, c->early_size);
    c->waiting_end += (u32)tls_seal(&c->tls, record, c->early_size);
    wipe(c->early, c->early_size);
    socket_block_drop(c->early);
    c->early = NULL;
}

void connection_queue(struct connection *c) {
    if (c->handshake && c->handshake->out_size) {
        if (!connection_has_room(c, c->handshake->out_size)) return; /* so nothing gets before it */
        add_waiting(c, c->handshake->out, c->handshake->out_size);
        c->handshake->out_size = 0;
    }
    if (c->tls.reply_size && connection_has_room(c, c->tls.reply_size)) {
        add_waiting(c, c->tls.reply, c->tls.reply_size);
        c->tls.reply_size = 0;
    }
    if (c->handshake && (c->tls.connected || c->tls.broken)) {
        wipe(c->handshake, sizeof *c->handshake);
        socket_block_drop((u8 *)c->handshake);
        c->handshake = NULL;
    }
    queue_early(c);
}

long connection_flush(struct connection *c, int fd, u32 flags) {
    while (c->waiting_at < c->waiting_end) {
        const u32 left = c->waiting_end - c->waiting_at;
        const long n = SYS6(__NR_sendto, fd, c->waiting + c->waiting_at, left, flags | MESSAGE_DONT_WAIT, NULL, 0);
        if (failed(n)) return n == -EINTR ? -EAGAIN : n;
        c->waiting_at += (u32)n;
    }
    c->waiting_at = c->waiting_end = 0;
    socket_block_drop(c->waiting);
    c->waiting = NULL;
    return 0;
}

/* A record that was opened may have made something to send. */
static long after(struct connection *c, int fd) {
    connection_queue(c);
    (void)!connection_flush(c, fd, MESSAGE_NO_SIGNAL);
    return connection_error(c);
}

/* `n` more bytes stand in the block, and are not the end of the record. -ECONNRESET if that will never come. */
static long keep_partial(struct connection *c, int fd, u8 *block, u32 have, long n) {
    if (!n || has_happened(fd, WAIT_PEER_GONE)) {
        socket_block_drop(block);
        return -ECONNRESET;
    }
    connection_discard(c, fd, (u32)n);
    c->partial = block;
    c->partial_size = have + (u32)n;
    const u32 size = c->partial_size >= TLS_HEADER ? (u32)tls_record_size(block) : TLS_HEADER;
    want(c, fd, size - c->partial_size);
    return -EAGAIN;
}

/* `queued` bytes of the record are in the kernel's queue. */
static long open_record(struct connection *c, int fd, u8 *block, u32 size, u32 queued) {
    u8 *plain;
    size_t plain_size;
    const enum tls_event event = tls_receive(&c->tls, c->handshake, block, size, &plain, &plain_size);
    if (event == TLS_DATA) {
        c->plain = block;
        c->plain_at = (u32)(plain - block);
        c->plain_end = c->plain_at + (u32)plain_size;
        c->plain_queued = queued;
        return 1;
    }
    socket_block_drop(block);
    if (event == TLS_END) return 0; /* it stays in the queue: what has ended can be read for ever */
    if (event == TLS_MORE) connection_discard(c, fd, queued);
    const long error = after(c, fd);
    return error ? error : 1;
}

static long take_record(struct connection *c, int fd, u8 *block, u32 have) {
    const long n = SYS6(__NR_recvfrom, fd, block + have, TLS_RECORD_MOST - have, MESSAGE_PEEK | MESSAGE_DONT_WAIT, NULL, NULL);
    if (n == -EAGAIN || n == -EINTR) {
        c->partial = block;
        c->partial_size = have;
        if (!have) want_least(c, fd);
        return -EAGAIN;
    }
    if (failed(n)) {
        socket_block_drop(block);
        return n;
    }
    const u64 there = have + (u64)n, size = there >= TLS_HEADER ? tls_record_size(block) : 0;
    if (there >= TLS_HEADER && !size) return open_record(c, fd, block, TLS_HEADER, 0); /* the engine says what is wrong */
    if (there < TLS_HEADER || there < size) return keep_partial(c, fd, block, have, n);
    return open_record(c, fd, block, (u32)size, (u32)size - have);
}

/* Of an image before this one: where the policy stands is another place. */
static bool find_config(struct connection *c) {
    if (!c->handshake || c->handshake->config) return true;
    const bool known = c->place < (c->client ? policy.connect_count : policy.listen_count);
    if (known) c->handshake->config = c->client ? socket_client_config(&policy.connect[c->place]) : socket_server_config(&policy.listen[c->place]);
    return c->handshake->config;
}

long connection_step(struct connection *c, int fd) {
    if (connection_error(c)) return connection_error(c);
    if (!find_config(c)) return -EIO;
    if (c->plain) return 1;
    if (c->tls.ended) return 0;
    if (c->waiting_end) (void)!connection_flush(c, fd, MESSAGE_NO_SIGNAL);
    u8 *block = c->partial ? c->partial : socket_block();
    const u32 have = c->partial ? c->partial_size : 0;
    if (!block) return -ENOBUFS;
    c->partial = NULL;
    const long result = take_record(c, fd, block, have);
    if (c->partial && !c->partial_size) { /* nothing to keep */
        socket_block_drop(c->partial);
        c->partial = NULL;
    }
    return result;
}

long connection_drive(struct connection *c, int fd) {
    while (!c->tls.connected) {
        const long n = connection_step(c, fd);
        if (n <= 0) return n ? n : -ECONNRESET;
    }
    return connection_error(c);
}
