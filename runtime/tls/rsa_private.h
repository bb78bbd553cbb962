/* Signing with RSA (RFC 8017, section 8.1.1), in constant time but for the key's size. */
#ifndef CLOISTER_TLS_RSA_PRIVATE_H
#define CLOISTER_TLS_RSA_PRIVATE_H

#include "der.h"

/* RSAPrivateKey (RFC 8017, appendix A.1.2) of two primes of one size: numbers inside the DER that it was read from. */
struct rsa_private {
    struct der modulus, first, second, first_exponent, second_exponent, coefficient;
    u64 exponent;
};

/* Exactly these bytes. Whether the numbers belong together is seen only when they sign. */
NODISCARD bool rsa_private_read(struct rsa_private *key, struct der der);
/* RSASSA-PSS with SHA-256, of the modulus' size. False if the numbers do not belong together, or the processor erred: then nothing
 * may leave, for a signature that is wrong modulo one prime gives both away. */
NODISCARD bool rsa_private_sign(const struct rsa_private *key, const u8 digest[32], const u8 salt[32], u8 *signature);

#endif
