/* HMAC (RFC 2104) with SHA-256 and SHA-384: what HKDF (RFC 5869) is made of. */
#ifndef CLOISTER_HMAC_H
#define CLOISTER_HMAC_H

#include "sha2.h"

struct hmac {
    struct sha256 inner, outer;
};

void hmac_start(struct hmac *hmac, const u8 *key, size_t size); /* of at most 64 bytes, which are never hashed */
void hmac_add(struct hmac *hmac, const void *bytes, size_t size);
void hmac_finish(struct hmac *hmac, u8 code[SHA256_SIZE]); /* wipes `hmac` */

struct hmac384 {
    struct sha512 inner, outer;
};

void hmac384_start(struct hmac384 *hmac, const u8 *key, size_t size); /* of at most 128 bytes */
void hmac384_add(struct hmac384 *hmac, const void *bytes, size_t size);
void hmac384_finish(struct hmac384 *hmac, u8 code[SHA384_SIZE]); /* wipes `hmac` */

#endif
