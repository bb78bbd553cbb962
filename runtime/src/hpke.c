/* RFC 9180. Every secret that HPKE derives has at most 32 bytes here, so HKDF-Expand (RFC 5869, section 2.3) is its first step:
 * HMAC over the info and a byte 1. */
#include "hpke.h"

#include "bytes.h"
#include "hmac.h"

/* A suite_id: section 4.1's for the KEM, section 5.1's for the rest, with the identifiers of section 7. */
struct suite {
    u8 size, bytes[10];
};
static const struct suite kem_suite = {5, {'K', 'E', 'M', 0x00, 0x20}};
static const struct suite hpke_suite = {10, {'H', 'P', 'K', 'E', 0x00, 0x20, 0x00, 0x01, 0x00, 0x03}};

static void add_label(struct hmac *hmac, const struct suite *suite, const char *label) {
    hmac_add(hmac, "HPKE-v1", 7);
    hmac_add(hmac, suite->bytes, suite->size);
    hmac_add(hmac, label, strlen(label));
}

/* Section 4: LabeledExtract. No salt is the same as a salt of zeros. */
static void extract(u8 key[SHA256_SIZE], const u8 *salt, size_t salt_size, const struct suite *suite, const char *label,
                    const void *material, size_t size) {
    struct hmac hmac;
    hmac_start(&hmac, salt, salt_size);
    add_label(&hmac, suite, label);
    hmac_add(&hmac, material, size);
    hmac_finish(&hmac, key);
}

/* Section 4: LabeledExpand, of `size` bytes, which are at most SHA256_SIZE. */
static void expand(u8 *secret, u8 size, const u8 key[SHA256_SIZE], const struct suite *suite, const char *label,
                   const void *info, size_t info_size) {
    struct hmac hmac;
    u8 all[SHA256_SIZE];
    hmac_start(&hmac, key, SHA256_SIZE);
    hmac_add(&hmac, (u8[]){0, size}, 2);
    add_label(&hmac, suite, label);
    hmac_add(&hmac, info, info_size);
    hmac_add(&hmac, (u8[]){1}, 1);
    hmac_finish(&hmac, all);
    memcpy(secret, all, size);
    wipe(all, sizeof all);
}

/* Section 4.1: Decap, or AuthDecap if there is a sender; then ExtractAndExpand. False if another side's key is none (section 7.1.4). */
static bool decapsulate(u8 shared[SHA256_SIZE], const u8 private_key[X25519_SIZE], const u8 encapsulated[X25519_SIZE], const u8 *sender) {
    u8 points[2 * X25519_SIZE], extracted[SHA256_SIZE], context[3 * X25519_SIZE];
    const size_t parts = sender ? 2 : 1;
    bool valid = x25519(points, private_key, encapsulated);
    if (sender) valid &= x25519(points + X25519_SIZE, private_key, sender);
    __builtin_memcpy(context, encapsulated, X25519_SIZE);
    x25519_public(context + X25519_SIZE, private_key);
    if (sender) __builtin_memcpy(context + 2 * X25519_SIZE, sender, X25519_SIZE);
    extract(extracted, NULL, 0, &kem_suite, "eae_prk", points, parts * X25519_SIZE);
    expand(shared, SHA256_SIZE, extracted, &kem_suite, "shared_secret", context, (1 + parts) * X25519_SIZE);
    wipe(points, sizeof points);
    wipe(extracted, sizeof extracted);
    return valid;
}

enum mode { MODE_BASE = 0, MODE_AUTH = 2 };

/* Section 5.1: KeySchedule in modes without psk and psk_id. The nonce is that of the first message (section 5.2). */
static void schedule(u8 key[AEAD_KEY], u8 nonce[AEAD_NONCE], enum mode mode, const u8 shared[SHA256_SIZE], const void *info,
                     size_t info_size) {
    u8 context[1 + 2 * SHA256_SIZE] = {(u8)mode}, secret[SHA256_SIZE];
    extract(context + 1, NULL, 0, &hpke_suite, "psk_id_hash", NULL, 0);
    extract(context + 1 + SHA256_SIZE, NULL, 0, &hpke_suite, "info_hash", info, info_size);
    extract(secret, shared, SHA256_SIZE, &hpke_suite, "secret", NULL, 0);
    expand(key, AEAD_KEY, secret, &hpke_suite, "key", context, sizeof context);
    expand(nonce, AEAD_NONCE, secret, &hpke_suite, "base_nonce", context, sizeof context);
    wipe(secret, sizeof secret);
}

bool hpke_open(const u8 private_key[X25519_SIZE], const u8 encapsulated[X25519_SIZE], const u8 *sender, const void *additional,
               size_t additional_size, u8 *text, size_t size) {
    u8 shared[SHA256_SIZE], key[AEAD_KEY], nonce[AEAD_NONCE];
    struct aead aead;
    bool valid = size >= AEAD_TAG && decapsulate(shared, private_key, encapsulated, sender);
    if (valid) {
        schedule(key, nonce, sender ? MODE_AUTH : MODE_BASE, shared, NULL, 0);
        aead_start(&aead, key, nonce, additional, additional_size);
        aead_decrypt(&aead, text, size - AEAD_TAG);
        valid = aead_verify(&aead, text + size - AEAD_TAG);
    }
    if (!valid) wipe(text, size);
    wipe(shared, sizeof shared);
    wipe(key, sizeof key);
    wipe(nonce, sizeof nonce);
    return valid;
}
