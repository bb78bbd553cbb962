/* EMSA-PSS (RFC 8017, section 9.1) with MGF1 of the same hash and a salt as long as it. The digest's size says which hash: 32, 48 or 64.
 * `bits` is the modulus' size; the encoding has as many bytes as it. */
#ifndef CLOISTER_TLS_RSA_PSS_H
#define CLOISTER_TLS_RSA_PSS_H

#include "rt.h"

void pss_encode(u8 *encoded, size_t bits, const u8 *digest, size_t digest_size, const u8 *salt);
/* Changes what it looks at. */
NODISCARD bool pss_verify(u8 *encoded, size_t bits, const u8 *digest, size_t digest_size);

#endif
