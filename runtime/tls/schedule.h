/* The key schedule (RFC 8446, section 7.1) and the hash over the handshake's messages (section 4.4.1). */
#ifndef CLOISTER_TLS_SCHEDULE_H
#define CLOISTER_TLS_SCHEDULE_H

#include "hmac.h"

enum { TLS_HASH_MOST = SHA384_SIZE };

enum tls_suite { /* section B.4 */
    TLS_NO_SUITE = 0,
    TLS_AES_128_GCM_SHA256 = 0x1301,
    TLS_AES_256_GCM_SHA384 = 0x1302,
    TLS_CHACHA20_POLY1305_SHA256 = 0x1303,
};

static inline size_t suite_hash_size(u16 suite) { return suite == TLS_AES_256_GCM_SHA384 ? SHA384_SIZE : SHA256_SIZE; }
static inline size_t suite_key_size(u16 suite) { return suite == TLS_AES_128_GCM_SHA256 ? 16 : 32; }

/* By the hash of its suite. */
struct transcript {
    u16 suite;
    union {
        struct sha256 sha256;
        struct sha512 sha384;
    };
};

void transcript_start(struct transcript *transcript, u16 suite);
void transcript_add(struct transcript *transcript, const void *bytes, size_t size);
/* So far: it goes on afterwards. */
void transcript_digest(const struct transcript *transcript, u8 digest[TLS_HASH_MOST]);
/* What was hashed so far is replaced by its own digest, as after a HelloRetryRequest. */
void transcript_fold(struct transcript *transcript);

/* HKDF-Expand-Label, of at most 255 bytes. */
void expand_label(u16 suite, const u8 *secret, const char *label, const u8 *context, size_t context_size, u8 *to, size_t size);

struct tls_secrets {
    u8 current[TLS_HASH_MOST];                /* the handshake secret, then the master secret */
    u8 client[TLS_HASH_MOST], server[TLS_HASH_MOST]; /* of the traffic: in the handshake, then of the application */
};

/* Of what both sides agreed on, and the messages up to ServerHello. */
void secrets_of_handshake(struct tls_secrets *secrets, u16 suite, const u8 *shared, size_t shared_size,
                          const struct transcript *transcript);
/* The messages up to the server's Finished. The handshake's traffic secrets are written over. */
void secrets_of_application(struct tls_secrets *secrets, u16 suite, const struct transcript *transcript);
/* What a Finished says (section 4.4.4), of a side's traffic secret in the handshake. */
void finished_code(u16 suite, const u8 *secret, const struct transcript *transcript, u8 code[TLS_HASH_MOST]);

#endif
