/* What is read of an X.509 certificate (RFC 5280): its key and its dates. Who issued it, its names and its extensions say nothing
 * here, where peers are known by the SHA-256 of their keys. */
#ifndef CLOISTER_TLS_X509_H
#define CLOISTER_TLS_X509_H

#include "keys.h"
#include "sha2.h"

enum { X509_MAX = 65536 };

/* Points into the certificate's bytes. */
struct x509 {
    const u8 *spki; /* SubjectPublicKeyInfo, DER */
    size_t spki_size;
    struct public_key key;
    int64_t not_before, not_after; /* seconds since 1970; both are still inside */
};

/* Of exactly these bytes. False if they are no certificate, or its key none of those that keys.h knows. */
NODISCARD bool x509_read(struct x509 *certificate, const u8 *der, size_t size);
/* SHA-256 of the SubjectPublicKeyInfo. */
void x509_pin(const struct x509 *certificate, u8 pin[SHA256_SIZE]);

#endif
