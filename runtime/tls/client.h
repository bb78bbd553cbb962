#ifndef CLOISTER_TLS_CLIENT_H
#define CLOISTER_TLS_CLIENT_H

#include "handshake.h"

/* With a new share of `h->group`. It is not in the transcript yet: the hash may not be known. */
NODISCARD bool client_hello(struct tls_handshake *h, struct writer *w, const struct reader *cookie);

/* A ServerHello or HelloRetryRequest, checked against what was offered. */
struct choice {
    bool retry;
    u16 suite, group;
    const u8 *share; /* NULL in a HelloRetryRequest */
    struct reader cookie;
};
int client_choice(const struct tls_handshake *h, struct reader body, struct choice *choice);

#endif
