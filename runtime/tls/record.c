#include "record.h"

#include "aead.h"
#include "bytes.h"
#include "tls.h"

void keys_start(struct tls_keys *keys, u16 suite, const u8 *secret) {
    u8 key[32];
    wipe(keys, sizeof *keys);
    keys->suite = suite;
    memcpy(keys->secret, secret, suite_hash_size(suite));
    expand_label(suite, secret, "key", NULL, 0, key, suite_key_size(suite));
    expand_label(suite, secret, "iv", NULL, 0, keys->iv, TLS_NONCE);
    if (suite == TLS_AES_128_GCM_SHA256) gcm_init_128(&keys->gcm, key);
    else if (suite == TLS_AES_256_GCM_SHA384) gcm_init(&keys->gcm, key);
    else memcpy(keys->chacha, key, sizeof key);
    wipe(key, sizeof key);
}

void keys_next(struct tls_keys *keys) {
    u8 next[TLS_HASH_MOST];
    const size_t size = suite_hash_size(keys->suite);
    expand_label(keys->suite, keys->secret, "traffic upd", NULL, 0, next, size);
    keys_start(keys, keys->suite, next);
    wipe(next, sizeof next);
}

size_t tls_record_size(const u8 header[TLS_HEADER]) {
    const size_t size = (size_t)header[3] << 8 | header[4];
    if (header[0] < CONTENT_CHANGE_CIPHER || header[0] > CONTENT_DATA || header[1] != 3) return 0;
    return !size || size > TLS_RECORD_MOST - TLS_HEADER ? 0 : TLS_HEADER + size;
}

/* Section 5.3: no number is used twice, for nothing but keys_start sets it back. */
static void next_nonce(struct tls_keys *keys, u8 nonce[TLS_NONCE]) {
    memcpy(nonce, keys->iv, TLS_NONCE);
    for (int i = 0; i < 8; i++) nonce[TLS_NONCE - 1 - i] ^= (u8)(keys->sequence >> 8 * i);
    keys->sequence++;
}

static void put_header(enum tls_content type, u8 *record, size_t size) {
    record[0] = (u8)type, record[1] = 3, record[2] = 3;
    record[3] = (u8)(size >> 8), record[4] = (u8)size;
}

size_t record_plain(enum tls_content type, u8 *record, size_t size) {
    put_header(type, record, size);
    return TLS_HEADER + size;
}

size_t record_seal(struct tls_keys *keys, enum tls_content type, u8 *record, size_t size) {
    u8 nonce[TLS_NONCE], *text = record + TLS_HEADER;
    struct aead aead;
    text[size++] = (u8)type;
    put_header(CONTENT_DATA, record, size + TLS_TAG);
    next_nonce(keys, nonce);
    if (keys->suite != TLS_CHACHA20_POLY1305_SHA256) {
        gcm_seal(&keys->gcm, nonce, record, TLS_HEADER, text, size, text, text + size);
    } else {
        aead_start(&aead, keys->chacha, nonce, record, TLS_HEADER);
        aead_encrypt(&aead, text, size);
        aead_finish(&aead, text + size);
    }
    return TLS_HEADER + size + TLS_TAG;
}

static bool unlock(struct tls_keys *keys, u8 *record, size_t size) {
    u8 nonce[TLS_NONCE], *text = record + TLS_HEADER;
    struct aead aead;
    next_nonce(keys, nonce);
    if (keys->suite != TLS_CHACHA20_POLY1305_SHA256)
        return gcm_open(&keys->gcm, nonce, record, TLS_HEADER, text, size, text, text + size);
    aead_start(&aead, keys->chacha, nonce, record, TLS_HEADER);
    aead_decrypt(&aead, text, size);
    if (aead_verify(&aead, text + size)) return true;
    wipe(text, size);
    return false;
}

/* Section 5.4: content, its type, zeros. */
static int open_protected(struct tls_keys *keys, u8 *record, size_t size, enum tls_content *type, size_t *plain_size) {
    if (record[0] != CONTENT_DATA) return ALERT_UNEXPECTED_MESSAGE;
    if (size < TLS_HEADER + TLS_TAG + 1) return ALERT_BAD_RECORD;
    size -= TLS_HEADER + TLS_TAG;
    if (!unlock(keys, record, size)) return ALERT_BAD_RECORD;
    if (size > TLS_PLAIN_MOST + 1) return ALERT_RECORD_OVERFLOW;
    const u8 *text = record + TLS_HEADER;
    while (size && !text[size - 1]) size--;
    if (!size) return ALERT_UNEXPECTED_MESSAGE;
    *type = text[size - 1];
    *plain_size = size - 1;
    return 0;
}

int record_open(struct tls_keys *keys, u8 *record, size_t size, enum tls_content *type, size_t *plain_size) {
    if (size < TLS_HEADER || tls_record_size(record) != size) return ALERT_DECODE_ERROR;
    if (keys->suite) return open_protected(keys, record, size, type, plain_size);
    if (size > TLS_HEADER + TLS_PLAIN_MOST) return ALERT_RECORD_OVERFLOW;
    *type = record[0];
    *plain_size = size - TLS_HEADER;
    return *type == CONTENT_DATA ? ALERT_UNEXPECTED_MESSAGE : 0;
}

bool tls_update_is_due(const struct tls *tls) { return tls->connected && tls->out.sequence >= 1UL << 23; }
