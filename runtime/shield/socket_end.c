/* How a connection ends. */
#include "socket.h"

struct poll_one { /* struct pollfd */
    int fd;
    short events, happened;
};

enum { CLIENTS_PATIENCE = 50, PATIENCE = 5, A_TENTH = 100000000 /* nanoseconds */, DRAIN_MOST = 1 << 20 };

static void wait_a_little(int fd, short event) {
    struct poll_one one = {fd, event, 0};
    const u64 limit[2] = {0, A_TENTH};
    SYS5(__NR_ppoll, &one, 1, limit, NULL, 0);
}

/* The kernel goes on sending when a program has closed a socket; what waits here must be the kernel's before that. Not for long, for other
 * threads may wait meanwhile: a stranger must not hold a server up by never answering. A client knows whom it speaks to. */
static long send_rest(struct connection *c, int fd) {
    for (int i = c->client ? CLIENTS_PATIENCE : PATIENCE; i; i--) {
        long error = c->early ? connection_drive(c, fd) : connection_error(c);
        const bool answered = error != -EAGAIN;
        if (!error) error = connection_flush(c, fd, MESSAGE_NO_SIGNAL);
        if (error != -EAGAIN) return error;
        wait_a_little(fd, answered ? WAIT_WRITABLE : WAIT_READABLE);
    }
    return -EAGAIN;
}

static void say_end(struct connection *c, int fd) {
    if (!c->tls.connected || failed(send_rest(c, fd))) return;
    tls_close(&c->tls);
    connection_queue(c);
    (void)!send_rest(c, fd);
}

/* What the peer sent and nobody read (tickets, its own end) would make the kernel reset the connection, and what was sent last be lost. */
static void drain(int fd) {
    long n = 1;
    for (u64 total = 0; n > 0 && total < DRAIN_MOST; total += (u64)n)
        n = SYS6(__NR_recvfrom, fd, NULL, DRAIN_MOST, MESSAGE_TRUNCATE | MESSAGE_DONT_WAIT, NULL, NULL);
}

void socket_say_goodbye(struct connection *c, int fd) {
    if (c->early) (void)!send_rest(c, fd);
    if (!c->shut) say_end(c, fd);
    drain(fd);
}

long socket_shutdown(const struct call *call, int fd, struct connection *c) {
    struct turn turn;
    const u64 how = (u32)call->arg[1];
    if (how != SHUT_READING && how <= SHUT_BOTH) {
        connection_enter(&turn, call, c);
        if (c->early) (void)!send_rest(c, fd);
        if (!c->shut) say_end(c, fd);
        c->shut = true;
        connection_leave(&turn, c);
    }
    return SYS2(__NR_shutdown, fd, how);
}
