/* Key exchange over secp256r1 (RFC 8446, section 4.2.8.2; SEC 1, section 3.3.1), in constant time. x25519.h has the other group. */
#ifndef CLOISTER_TLS_EXCHANGE_H
#define CLOISTER_TLS_EXCHANGE_H

#include "rt.h"

enum { EXCHANGE_SECRET = 32, EXCHANGE_POINT = 65 };

/* Of 32 random bytes. False if they are no key, as happens once in 2^32: try others. */
NODISCARD bool exchange_public(u8 point[EXCHANGE_POINT], const u8 private_key[EXCHANGE_SECRET]);
/* False if what the peer sent is not a point of the curve in its uncompressed form. */
NODISCARD bool exchange_shared(u8 shared[EXCHANGE_SECRET], const u8 private_key[EXCHANGE_SECRET], const u8 point[EXCHANGE_POINT]);

#endif
