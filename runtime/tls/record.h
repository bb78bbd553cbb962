/* The record layer (RFC 8446, section 5): one direction's keys, and records sealed and opened in place. */
#ifndef CLOISTER_TLS_RECORD_H
#define CLOISTER_TLS_RECORD_H

#include "../volume/aes_gcm.h"
#include "rt.h"
#include "schedule.h"

enum {
    TLS_HEADER = 5,
    TLS_TAG = 16,
    TLS_PLAIN_MOST = 1 << 14,
    TLS_OVERHEAD = TLS_HEADER + 1 + TLS_TAG, /* header, type, tag */
    TLS_RECORD_MOST = TLS_HEADER + TLS_PLAIN_MOST + 256,
    TLS_NONCE = 12,
};

enum tls_content { CONTENT_CHANGE_CIPHER = 20, CONTENT_ALERT = 21, CONTENT_HANDSHAKE = 22, CONTENT_DATA = 23 };

struct tls_keys {
    u16 suite; /* TLS_NO_SUITE: records go unprotected */
    u64 sequence;
    u8 secret[TLS_HASH_MOST];
    u8 iv[TLS_NONCE];
    union {
        struct gcm gcm;
        u8 chacha[32];
    };
};

/* Of a traffic secret: key, nonce, sequence 0 (section 7.3). */
void keys_start(struct tls_keys *keys, u16 suite, const u8 *secret);
/* The generation behind it (section 7.2). */
void keys_next(struct tls_keys *keys);

/* The size of the record that begins with this header, or 0 if none may begin so. */
NODISCARD size_t tls_record_size(const u8 header[TLS_HEADER]);

/* Content of `size` bytes stands at record + TLS_HEADER. The record's size. */
size_t record_seal(struct tls_keys *keys, enum tls_content type, u8 *record, size_t size);
size_t record_plain(enum tls_content type, u8 *record, size_t size);

/* 0, and what the record holds, which stands at record + TLS_HEADER; or the alert that says what is wrong. */
NODISCARD int record_open(struct tls_keys *keys, u8 *record, size_t size, enum tls_content *type, size_t *plain_size);

#endif
