/* Connections that carry TLS without the program knowing.
 *
 * - Readiness is the kernel's. The end of a record stays in the kernel's queue, where it is only looked at (MSG_PEEK), until the program has
 *   taken all of its plaintext; SO_RCVLOWAT is what is missing of a record. So poll(2), epoll(7) and select(2) say the truth and are
 *   nobody's business. The beginning of a record that is not complete is taken out: else the peer's window might never open for the rest.
 * - What is written and does not fit into the kernel's queue, is kept as ciphertext, and the program told of one byte less: it comes back
 *   with that byte when there is room again, which says when the rest can go.
 * - The state stands in secret memory that a forked child shares (memory mapped before fork and unknown to the model of areas), under a
 *   lock. So there is one sequence number for all who hold a connection, and no nonce can be used twice. */
#ifndef CLOISTER_SHIELD_SOCKET_H
#define CLOISTER_SHIELD_SOCKET_H

#include "../tls/tls.h"
#include "shield.h"

enum {
    SOCKET_BLOCK = 36 << 10, /* a handshake, or what waits to be sent */
    EARLY_MOST = TLS_PLAIN_MOST,
    LEAST_RECORD = TLS_OVERHEAD, /* once keys are in use: one byte of type */
    LEAST_OPENING = TLS_HEADER + 1,
};
_Static_assert(sizeof(struct tls_handshake) <= SOCKET_BLOCK, "a handshake is a block");
_Static_assert(TLS_FLIGHT_MOST + TLS_REPLY_MOST + EARLY_MOST + TLS_OVERHEAD <= SOCKET_BLOCK, "what waits at the end of a handshake");

#define CONNECTION_USER 1UL
#define CONNECTION_PIN (1UL << 32)

struct connection {
    u32 holder;  /* the thread that has the lock; 0: nobody */
    u64 serial;  /* another connection's, once this one's memory is used again, is another */
    u64 holds;   /* CONNECTION_USER for each descriptor, in all processes that share this; CONNECTION_PIN for each call */
    u32 mover;   /* the process that took it along when it executed another program; 0: none */
    bool client, shut;
    bool made;   /* it has had a user */
    bool lost;   /* nothing may be sealed or opened with this state any more */
    u32 wants;   /* SO_RCVLOWAT */
    struct tls tls;
    u32 place;                       /* in the policy, of what it was made for */
    struct tls_handshake *handshake; /* NULL once it is over */
    u8 *partial;                     /* a block: the beginning of a record, which has left the kernel's queue */
    u32 partial_size;
    u8 *plain;                       /* a block: a record whose end is still in the kernel's queue, decrypted */
    u32 plain_at, plain_end, plain_queued;
    u8 *waiting; /* a block while there is some: ciphertext to send */
    u32 waiting_at, waiting_end;
    u8 *early; /* a block: what the program wrote before the end of the handshake */
    u32 early_size;
    bool owes; /* the next byte that the program writes was sent already: */
    u8 owed;
};

/* socket_memory.c. Without the lock of `state`, with signals blocked. NULL: there is no memory. */
u8 *socket_block(void);
void socket_block_drop(u8 *block);
struct connection *socket_connection(void); /* zeroed */
void socket_connection_drop(struct connection *connection);

/* socket_policy.c. NULL: not listed, or what is listed cannot be used. */
const struct shield_listen *socket_listen_entry(u32 port);
struct address { /* as struct sockaddr_in and in6 */
    u16 family;
    u16 port;
    u8 host[16]; /* IPv4 as IPv6 has it */
};
const struct shield_connect *socket_connect_entry(const struct address *address);
const struct tls_config *socket_server_config(const struct shield_listen *entry);
const struct tls_config *socket_client_config(const struct shield_connect *entry);
NODISCARD bool socket_is_client_config(const struct shield_connect *entry, const struct tls_config *config);
/* Ends the process if evidence is to be shown and nobody makes any. */
void socket_require_attester(void);
NODISCARD bool socket_address_read(struct address *address, const u8 *bytes, u64 size);

/* connection.c: the descriptor's connection, which stays until it is let go, whoever closes what; NULL: there is no state of it. */
struct connection *connection_pin(const struct call *call, int fd);
void connection_let_go(struct connection *c);
/* While a call waits in the kernel, nobody holds the connection for it: the program may leave the call for good (siglongjmp(3)), or another
 * thread close the descriptor, whose number is something else's then. So: what connection_rest gives, to connection_resume; false: it is
 * gone, and SOCKET_GONE the answer. */
enum { SOCKET_GONE = SHIELD_PASS - 1 };
NODISCARD u64 connection_rest(struct connection *c);
NODISCARD bool connection_resume(const struct call *call, int fd, const struct connection *c, u64 serial);
/* The lock of `state`, but for the thread that closes a connection, which has it. */
NODISCARD bool socket_lock_state(struct lock_guard *lock);
void socket_unlock_state(struct lock_guard *lock, bool taken);
struct turn {
    u64 signals;
    bool blocked;
};
/* Blocks signals and takes the lock: short, and nothing that waits is done with it. */
void connection_enter(struct turn *turn, const struct call *call, struct connection *c);
void connection_leave(struct turn *turn, struct connection *c);
/* Made for a descriptor: 0 or -errno. */
NODISCARD long connection_make(int fd, const struct tls_config *config, u64 place);

/* connection_step.c. With the connection's lock, never waiting.
 * A step: the next record. 1: plaintext is there; 0: the peer has ended; -EAGAIN; or what is wrong. */
NODISCARD long connection_step(struct connection *c, int fd);
NODISCARD long connection_drive(struct connection *c, int fd); /* the handshake: 0 when it is over */
NODISCARD long connection_flush(struct connection *c, int fd, u32 flags); /* 0: nothing waits any more */
void connection_discard(struct connection *c, int fd, u32 size); /* from the kernel's queue */
void connection_ring(const struct connection *c, int fd); /* an edge, for epoll(7): there is still something */
NODISCARD bool connection_has_room(struct connection *c, u32 size); /* for what waits */
void connection_queue(struct connection *c); /* what the engine wants to send */
NODISCARD long connection_error(const struct connection *c); /* 0: none */
void connection_drop_plain(struct connection *c);
NODISCARD bool connection_may_wait(int fd, u32 flags);

/* What is read or written: the program's buffers, which were tried. */
enum { VECTORS_MOST = 1024 };
struct vector {
    u64 at, size;
};
struct buffers {
    const struct vector *vector;
    u64 count, first, offset; /* the next byte */
    u64 left;
};
u64 buffers_copy(struct buffers *to, u8 *bytes, u64 size, bool into); /* into the program's, or out of them; as many as there are */
NODISCARD long buffers_take(struct buffers *to, struct vector *copy, const struct call *call, u64 vectors, u64 count, bool written);

/* socket_read.c, socket_write.c */
long socket_receive(struct call *call, int fd, struct connection *c, struct buffers *to, u32 flags);
long socket_send(struct call *call, int fd, struct connection *c, struct buffers *from, u32 flags);
/* sendfile(2) */
long socket_send_file(struct call *call, int fd, struct connection *c);
/* socket_options.c: getsockopt(2), setsockopt(2), ioctl(2); SHIELD_PASS for the kernel's. */
long socket_option(struct call *call, int fd, struct connection *c);
long socket_control(struct call *call, int fd, struct connection *c);
long socket_option_new(const struct call *call);
/* socket_end.c */
long socket_shutdown(const struct call *call, int fd, struct connection *c);
void socket_say_goodbye(struct connection *c, int fd);

/* connection.c: nobody has it any more, and the caller is to drop it. */
NODISCARD bool socket_was_left(struct connection *c);

/* socket_new.c */
long socket_connect_again(struct call *call, int fd, struct connection *c);

enum { /* asm-generic/socket.h, bits/socket.h */
    FAMILY_UNIX = 1, FAMILY_IPV4 = 2, FAMILY_IPV6 = 10, FAMILY_NETLINK = 16, KIND_STREAM = 1, KIND_MASK = 15, LEVEL_SOCKET = 1,
    OPTION_ERROR = 4, OPTION_RECEIVE_BUFFER = 8, OPTION_RECEIVE_LOW = 18, OPTION_RECEIVE_BUFFER_FORCED = 33, OPTION_DOMAIN = 39,
    OPTION_SEND_TIME = 21, OPTION_PROTOCOL = 38, OPTION_PEEK_OFFSET = 42, OPTION_ZERO_COPY = 60,
    LEVEL_TCP = 6, OPTION_TCP_REPAIR = 19, OPTION_TCP_ULP = 31, OPTION_TCP_ZERO_COPY = 35, PROTOCOL_TCP = 6,
    MESSAGE_OOB = 1, MESSAGE_PEEK = 2, MESSAGE_TRUNCATE = 0x20, MESSAGE_DONT_WAIT = 0x40, MESSAGE_WAIT_ALL = 0x100,
    MESSAGE_NO_SIGNAL = 0x4000, MESSAGE_MORE = 0x8000, MESSAGE_ERRORS = 0x2000, MESSAGE_ZERO_COPY = 0x4000000,
    MESSAGE_FAST_OPEN = 0x20000000, SHUT_READING = 0, SHUT_BOTH = 2, WAIT_READABLE = 1, WAIT_WRITABLE = 4, WAIT_PEER_GONE = 0x2000,
};

#endif
