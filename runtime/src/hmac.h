/* HMAC-SHA256 (RFC 2104), and what HKDF (RFC 5869) is made of it. */
#ifndef CLOISTER_HMAC_H
#define CLOISTER_HMAC_H

#include "sha2.h"

struct hmac {
    struct sha256 inner, outer;
};

void hmac_start(struct hmac *hmac, const u8 *key, size_t size); /* of at most 64 bytes, which are never hashed */
void hmac_add(struct hmac *hmac, const void *bytes, size_t size);
void hmac_finish(struct hmac *hmac, u8 code[SHA256_SIZE]); /* wipes `hmac` */

#endif
