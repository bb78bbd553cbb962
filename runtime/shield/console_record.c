#include "console_record.h"

#include "bytes.h"
#include "hmac.h"

static const char purpose[] = "cloister console 1 ";

/* HKDF-Expand (RFC 5869, section 2.3) of one block. The key is random, so nothing is extracted. */
void console_record_key(u8 derived[AEAD_KEY], const u8 key[AEAD_KEY], const char *what) {
    struct hmac hmac;
    hmac_start(&hmac, key, AEAD_KEY);
    hmac_add(&hmac, purpose, sizeof purpose - 1);
    hmac_add(&hmac, what, strlen(what));
    hmac_add(&hmac, (u8[]){1}, 1);
    hmac_finish(&hmac, derived);
}

static void start(struct aead *aead, const u8 key[AEAD_KEY], const u8 *head) {
    u8 nonce[AEAD_NONCE] = {0};
    memcpy(nonce + 4, head, sizeof(u64));
    aead_start(aead, key, nonce, head, RECORD_HEAD);
}

u64 console_record_seal(u8 *record, const u8 key[AEAD_KEY], u64 number, u8 kind, u64 text_size) {
    struct aead aead;
    store64(record, number);
    record[sizeof number] = kind;
    start(&aead, key, record);
    aead_encrypt(&aead, record + RECORD_HEAD, text_size);
    aead_finish(&aead, record + RECORD_HEAD + text_size);
    return text_size + RECORD_EXTRA;
}

u64 console_record_number(const u8 *record) { return load64(record); }

bool console_record_open(u8 *record, u64 size, const u8 key[AEAD_KEY]) {
    struct aead aead;
    u64 text_size = size - RECORD_EXTRA;
    if (size < RECORD_EXTRA || size > RECORD_MOST) return false;
    start(&aead, key, record);
    aead_decrypt(&aead, record + RECORD_HEAD, text_size);
    if (aead_verify(&aead, record + RECORD_HEAD + text_size)) return true;
    wipe(record + RECORD_HEAD, text_size);
    return false;
}
