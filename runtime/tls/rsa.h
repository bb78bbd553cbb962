/* RSASSA-PSS (RFC 8017, section 8.1.2) as TLS 1.3 has it (RFC 8446, section 4.2.3): MGF1 with the same hash, a salt as long as it.
 * Only public numbers: not in constant time. */
#ifndef CLOISTER_TLS_RSA_H
#define CLOISTER_TLS_RSA_H

#include "rt.h"

enum { RSA_BYTES_MIN = 256, RSA_BYTES_MAX = 512 };

/* Whether numbers can be a public key here: a modulus of 2048 to 4096 bits, odd; an odd exponent from 3 on. */
NODISCARD bool rsa_is_key(const u8 *modulus, size_t size, u64 exponent);
/* `digest_size` says which hash: 32, 48 or 64. Of a key that rsa_is_key. */
NODISCARD bool rsa_verify(const u8 *modulus, size_t size, u64 exponent, const u8 *digest, size_t digest_size, const u8 *signature,
                          size_t signature_size);
/* signature^exponent modulo the modulus, of as many bytes as that. False if the signature is not less than it. */
NODISCARD bool rsa_recover(const u8 *modulus, size_t size, u64 exponent, const u8 *signature, u8 *encoded);

/* How many bits a number has that begins with a byte that is not 0. */
static inline size_t rsa_bits(const u8 *number, size_t size) { return 8 * size - (size_t)(__builtin_clz(number[0]) - 24); }

#endif
