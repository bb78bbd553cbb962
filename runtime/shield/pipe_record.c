#include "pipe_record.h"

#include "bytes.h"
#include "hmac.h"

_Static_assert(PIPE_HEAD == 16, "nothing stands between its fields");

static const char purpose[] = "cloister pipe 1";

/* HKDF-Expand (RFC 5869, section 2.3) of one block. The tree's key is random, so nothing is extracted. */
static void derive(u8 key[AEAD_KEY], const u8 tree[AEAD_KEY], u64 id) {
    struct hmac hmac;
    hmac_start(&hmac, tree, AEAD_KEY);
    hmac_add(&hmac, purpose, sizeof purpose - 1);
    hmac_add(&hmac, &id, sizeof id);
    hmac_add(&hmac, (u8[]){1}, 1);
    hmac_finish(&hmac, key);
}

void pipe_key(struct pipe_key *key, const u8 tree[AEAD_KEY], u64 id) {
    if (key->id == id) return;
    derive(key->chacha, tree, id);
    key->vector = gcm_is_supported();
    if (key->vector) gcm_init(&key->gcm, key->chacha);
    key->id = id;
}

/* Number and salt are the first of the head. */
_Static_assert((int)AEAD_NONCE == GCM_NONCE && AEAD_NONCE == sizeof(u64) + sizeof(u32), "a nonce is number and salt");
_Static_assert((int)AEAD_TAG == GCM_TAG, "a record has room for one tag");

static void encrypt(u8 *record, u8 *text, u64 size, const struct pipe_key *key) {
    struct aead aead;
    if (key->vector) {
        gcm_seal(&key->gcm, record, record, PIPE_HEAD, text, size, text, text + size);
        return;
    }
    aead_start(&aead, key->chacha, record, record, PIPE_HEAD);
    aead_encrypt(&aead, text, size);
    aead_finish(&aead, text + size);
}

static bool decrypt(const u8 *record, u8 *text, u64 size, const struct pipe_key *key) {
    struct aead aead;
    if (key->vector) return gcm_open(&key->gcm, record, record, PIPE_HEAD, text, size, text, text + size);
    aead_start(&aead, key->chacha, record, record, PIPE_HEAD);
    aead_decrypt(&aead, text, size);
    return aead_verify(&aead, text + size);
}

u64 pipe_record_seal(u8 *record, const struct pipe_key *key, const struct pipe_head *head) {
    memcpy(record, head, PIPE_HEAD);
    encrypt(record, record + PIPE_HEAD, head->size, key);
    return PIPE_EXTRA + (u64)head->size;
}

long pipe_record_open(u8 *record, u64 size, const struct pipe_key *key, struct pipe_head *head) {
    if (size < PIPE_EXTRA) return 0;
    memcpy(head, record, PIPE_HEAD);
    if (!head->size || head->size > PIPE_TEXT || head->behind > head->number) return -1;
    if (size < PIPE_EXTRA + (u64)head->size) return 0;
    if (decrypt(record, record + PIPE_HEAD, head->size, key)) return PIPE_EXTRA + (long)head->size;
    wipe(record + PIPE_HEAD, head->size);
    return -1;
}
