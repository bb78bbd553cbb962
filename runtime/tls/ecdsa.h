/* ECDSA (FIPS 186-5, section 6) with signatures in DER (RFC 3279, section 2.2.3): P-256 with SHA-256, P-384 with SHA-384. */
#ifndef CLOISTER_TLS_ECDSA_H
#define CLOISTER_TLS_ECDSA_H

#include "curve.h"

enum { ECDSA_MAX = 104 }; /* bytes of a signature of P-384 */

/* The signature's size. The key is one (scalar_is_key), the digest as long as it. The nonce is made of key, digest and `random`,
 * RFC 6979, section 3.6; with no random bytes it is the deterministic one. In constant time, but for one in 2^32 nonces. */
size_t ecdsa_sign(const struct curve *curve, const u8 *private_key, const u8 *digest, const u8 *random, size_t random_size,
                  u8 signature[ECDSA_MAX]);
/* In a time that depends on the arguments, which are no secrets. The public key in its uncompressed form. */
NODISCARD bool ecdsa_verify(const struct curve *curve, const u8 *public_key, const u8 *digest, const u8 *signature, size_t size);

#endif
