/* Ed25519 (RFC 8032, section 5.1). */
#ifndef CLOISTER_TLS_ED25519_H
#define CLOISTER_TLS_ED25519_H

#include "rt.h"

enum { ED25519_KEY = 32, ED25519_SIGNATURE = 64 };

/* In constant time, but for the message's size. */
void ed25519_public(u8 public_key[ED25519_KEY], const u8 seed[ED25519_KEY]);
void ed25519_sign(const u8 seed[ED25519_KEY], const u8 public_key[ED25519_KEY], const void *message, size_t size,
                  u8 signature[ED25519_SIGNATURE]);
/* False too of everything that is not encoded in its one way. What it is asked is no secret. */
NODISCARD bool ed25519_verify(const u8 public_key[ED25519_KEY], const void *message, size_t size, const u8 signature[ED25519_SIGNATURE]);
/* Whether these bytes are a point, in its one way. */
NODISCARD bool ed25519_is_point(const u8 public_key[ED25519_KEY]);

#endif
