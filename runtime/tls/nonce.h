/* ECDSA's nonces by RFC 6979, section 3.2: HMAC_DRBG over key, digest and, section 3.6, more. SHA-256 for keys of 32 bytes, SHA-384 for 48. */
#ifndef CLOISTER_TLS_NONCE_H
#define CLOISTER_TLS_NONCE_H

#include "sha2.h"

struct nonce {
    u8 key[SHA384_SIZE], value[SHA384_SIZE];
    size_t size;
};

/* `reduced`: the digest modulo the curve's order. */
void nonce_start(struct nonce *nonce, size_t size, const u8 *private_key, const u8 *reduced, const u8 *random, size_t random_size);
/* The next candidate stands in `value` then. */
void nonce_next(struct nonce *nonce);
/* After a candidate that cannot be used. */
void nonce_reject(struct nonce *nonce);

#endif
