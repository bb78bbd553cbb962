/* A certificate that carries evidence about its key (CCC interoperable RA-TLS), as cloister.tls writes and verifies it:
 *
 *   extension 2.23.133.5.4.9    CBOR 60000([evidence, claims])
 *   claims                      {"pubkey-hash": bytes of CBOR [1, SHA-256 of the SubjectPublicKeyInfo]}
 *   report data                 SHA-256(claims), followed by 32 zero bytes
 *
 * First the report data is asked for and evidence is made of it; then the certificate. */
#ifndef CLOISTER_TLS_RA_CERTIFICATE_H
#define CLOISTER_TLS_RA_CERTIFICATE_H

#include "keys.h"

enum { RA_REPORT_DATA = 64, RA_EVIDENCE_MAX = 48 << 10, RA_CERTIFICATE_OVERHEAD = 1024 };

void ra_report_data(const struct private_key *key, u8 report_data[RA_REPORT_DATA]);

struct ra_certificate {
    const struct private_key *key; /* its own, which signs it */
    const u8 *evidence;
    size_t evidence_size;
    int64_t not_before, not_after; /* seconds since 1970 */
};

/* The certificate's size (DER), and `to` where it begins inside `room`: at its end. 0 if it is RSA's, the evidence is empty or longer than
 * RA_EVIDENCE_MAX, the dates are no dates, or `room` smaller than the evidence and RA_CERTIFICATE_OVERHEAD.
 * `random`: 32 bytes to sign with, 16 for the serial number. */
NODISCARD size_t ra_certificate_make(const struct ra_certificate *made, const u8 random[SIGNING_RANDOM + 16], u8 *room, size_t size,
                                     u8 **to);

#endif
