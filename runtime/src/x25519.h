/* X25519 (RFC 7748), in constant time and with general registers only. */
#ifndef CLOISTER_X25519_H
#define CLOISTER_X25519_H

#include "rt.h"

enum { X25519_SIZE = 32 };

void x25519_public(u8 public_key[X25519_SIZE], const u8 private_key[X25519_SIZE]);
/* False if the result is all zeros, which RFC 9180, section 7.1.4 demands to be refused. */
NODISCARD bool x25519(u8 shared[X25519_SIZE], const u8 private_key[X25519_SIZE], const u8 public_key[X25519_SIZE]);

#endif
