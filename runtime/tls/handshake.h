/* What the handshake's two sides share. Functions that return an int return 0 or the alert that ends the connection. */
#ifndef CLOISTER_TLS_HANDSHAKE_H
#define CLOISTER_TLS_HANDSHAKE_H

#include "parse.h"
#include "tls.h"

enum tls_step { /* what must come next */
    AWAIT_CLIENT_HELLO = 1,
    AWAIT_SERVER_HELLO,
    AWAIT_EXTENSIONS,
    AWAIT_REQUEST_OR_CERTIFICATE,
    AWAIT_CERTIFICATE,
    AWAIT_VERIFY,
    AWAIT_FINISHED,
};

enum tls_message { /* section 4 */
    MESSAGE_CLIENT_HELLO = 1,
    MESSAGE_SERVER_HELLO = 2,
    MESSAGE_TICKET = 4,
    MESSAGE_EXTENSIONS = 8,
    MESSAGE_CERTIFICATE = 11,
    MESSAGE_REQUEST = 13,
    MESSAGE_VERIFY = 15,
    MESSAGE_FINISHED = 20,
    MESSAGE_KEY_UPDATE = 24,
};

enum tls_extension { /* section 4.2 */
    EXTENSION_SERVER_NAME = 0,
    EXTENSION_GROUPS = 10,
    EXTENSION_SIGNATURES = 13,
    EXTENSION_PSK = 41,
    EXTENSION_VERSIONS = 43,
    EXTENSION_COOKIE = 44,
    EXTENSION_CHAIN_SIGNATURES = 50,
    EXTENSION_SHARE = 51,
};

enum {
    TLS_1_2 = 0x0303,
    TLS_1_3 = 0x0304,
    GROUP_X25519 = 29,
    GROUP_P256 = 23,
    SHARE_MOST = 65,
    MESSAGE_HEAD = 4,
    EXTENSIONS_MOST = 64, /* of one message */
};

struct message {
    u8 type;
    struct reader body;
    const u8 *whole;
    size_t size;
};

int server_message(struct tls *tls, struct tls_handshake *h, struct message *m);
int client_message(struct tls *tls, struct tls_handshake *h, struct message *m);
NODISCARD bool client_start(struct tls_handshake *h);

/* hello.c: extensions one by one. */
struct extensions {
    struct reader rest;
    u32 count;
    u16 seen[EXTENSIONS_MOST];
};
struct extensions extensions_of(struct reader *from);
/* False at the end; `*alert` says if it was a good one. */
bool next_extension(struct extensions *list, u16 *type, struct reader *body, int *alert);
bool is_retry(const u8 random[32]);
extern const u8 retry_random[32];
bool suite_is_possible(u16 suite);

/* server_offer.c: what a client offers. */
struct offer {
    const u8 *random;
    struct reader session;
    u16 suite;                 /* the best that both have, or TLS_NO_SUITE */
    u16 group, scheme;         /* likewise, 0: none */
    const u8 *share[2];        /* by the place of the group in `tls_groups`; NULL: none was sent */
    bool version, groups, signatures, shares;
    u32 share_count;
};
extern const u16 tls_groups[2]; /* the best first */
int read_offer(const struct tls_handshake *h, struct reader body, struct offer *offer);

/* exchange of keys: groups.c */
size_t share_size(u16 group);
NODISCARD bool share_make(struct tls_handshake *h, u16 group, u8 *share);
NODISCARD bool share_agree(const struct tls_handshake *h, u16 group, const u8 *share, u8 shared[32]);

/* identity.c: who the sides are. */
void put_schemes(struct writer *w);
bool scheme_is_listed(struct reader list, u16 scheme);
void put_certificate(const struct tls_handshake *h, struct writer *w);
void put_verify(const struct tls *tls, struct tls_handshake *h, struct writer *w);
int take_certificate(const struct tls *tls, struct tls_handshake *h, struct message *m);
int take_verify(const struct tls *tls, struct tls_handshake *h, struct message *m);
void put_finished(struct tls_handshake *h, struct writer *w, const u8 *secret);
int take_finished(struct tls_handshake *h, struct message *m, const u8 *secret);

/* flight.c: records to send, and the messages in them. */
struct writer flight_begin(struct tls_handshake *h);
NODISCARD bool flight_end(struct tls *tls, struct tls_handshake *h, struct writer *w);
NODISCARD bool flight_disguise(struct tls_handshake *h);
size_t message_begin(struct writer *w, enum tls_message type);
void message_end(struct tls_handshake *h, struct writer *w, size_t begun);
/* Of a message that came. */
void message_count(struct tls_handshake *h, const struct message *m);

#endif
