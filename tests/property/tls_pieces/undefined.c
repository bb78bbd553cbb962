/* Uses secrets that are uninitialised memory, for valgrind's memcheck: it follows what is computed of them, and says where a jump or
 * an address depends on it. Where a result is no secret any more, the sources say so (NO_SECRET).
 *
 * usage: undefined NAME    (rsa: PKCS #8 on standard input) one of the functions below; `leaky` must be reported, or memcheck sees nothing */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <valgrind/memcheck.h>

#include "aes_gcm.h"
#include "bytes.h"
#include "der.h"
#include "ecdsa.h"
#include "ed25519.h"
#include "exchange.h"
#include "keys.h"
#include "sha2.h"

static volatile bool answer;

static u8 *undefined(size_t size) {
    u8 *memory = malloc(size);
    memset(memory, 0x5a, size); /* zeros would be no key */
    VALGRIND_MAKE_MEM_UNDEFINED(memory, size);
    return memory;
}

static void use_sign(const struct curve *curve) {
    u8 *secret = undefined(48), *random = undefined(32), signature[ECDSA_MAX], digest[48] = {1};
    ecdsa_sign(curve, secret, digest, random, 32, signature);
}

static void use_p256(void) { use_sign(&curve_p256); }
static void use_p384(void) { use_sign(&curve_p384); }

static void use_ed25519(void) {
    u8 *seed = undefined(ED25519_KEY), public_key[ED25519_KEY], signature[ED25519_SIGNATURE];
    ed25519_public(public_key, seed);
    ed25519_sign(seed, public_key, "message", 7, signature);
}

static void use_exchange(void) {
    static const u8 private_key[EXCHANGE_SECRET] = {1};
    u8 *secret = undefined(EXCHANGE_SECRET), point[EXCHANGE_POINT], other[EXCHANGE_POINT], shared[EXCHANGE_SECRET];
    if (!exchange_public(other, private_key)) abort();
    answer = exchange_public(point, secret);
    answer = exchange_shared(shared, secret, other);
}

/* PKCS #8 whose secret is unknown, all else is not: P-256's with nothing behind the secret, Ed25519's. */
static void use_keys(void) {
    static const u8 ec[] = {0x30, 0x41, 2, 1, 0, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86,
                            0x48, 0xce, 0x3d, 3, 1, 7, 4, 0x27, 0x30, 0x25, 2, 1, 1, 4, 0x20};
    static const u8 ed[] = {0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20};
    u8 *der = undefined(200), *random = undefined(SIGNING_RANDOM), signature[SIGNATURE_MAX];
    struct private_key key;
    memcpy(der, ec, sizeof ec);
    if (!private_key_read(&key, der, sizeof ec + 32) || key.kind != KEY_P256) abort();
    private_key_sign(&key, random, "message", 7, signature);
    memcpy(der, ed, sizeof ed);
    if (!private_key_read(&key, der, sizeof ed + 32) || key.kind != KEY_ED25519) abort();
    private_key_sign(&key, random, "message", 7, signature);
    if (!private_key_make(&key, random)) abort();
}

/* All numbers but the modulus and the exponent are unknown, except their first two bytes: those say how long they are, and so does
 * the encoding. */
static void forget_numbers(const u8 *bytes, size_t size) {
    struct der der = der_of(bytes, size), inside, number;
    if (!der_take(&der, DER_SEQUENCE, &inside)) abort();
    for (int i = 0; !der_at_end(&inside); i++) {
        if (!der_take(&inside, DER_INTEGER, &number)) abort();
        if (i > 2) VALGRIND_MAKE_MEM_UNDEFINED(number.at + 2, der_size(&number) - 2);
    }
}

static void use_rsa(void) {
    u8 *random = undefined(SIGNING_RANDOM), signature[SIGNATURE_MAX], der[4096];
    struct private_key key;
    const size_t size = fread(der, 1, sizeof der, stdin);
    if (!private_key_read(&key, der, size) || key.kind != KEY_RSA) abort();
    forget_numbers(key.rsa, key.rsa_size);
    if (!private_key_sign(&key, random, "message", 7, signature)) abort();
}

static void use_gcm(void) {
    u8 *key = undefined(32), *text = undefined(300), nonce[GCM_NONCE] = {0}, tag[GCM_TAG];
    struct gcm gcm;
    gcm_init_128(&gcm, key);
    gcm_seal(&gcm, nonce, NULL, 0, text, 300, text, tag);
    gcm_init(&gcm, key);
    gcm_seal(&gcm, nonce, NULL, 0, text, 300, text, tag);
}

/* A table that is looked up by a secret. */
static void use_leaky(void) {
    static volatile u8 table[256];
    u8 *secret = undefined(1);
    answer = table[*secret];
}

static const struct {
    const char *name;
    void (*run)(void);
} functions[] = {
    {"p256", use_p256}, {"p384", use_p384}, {"ed25519", use_ed25519}, {"exchange", use_exchange},
    {"keys", use_keys}, {"gcm", use_gcm},   {"rsa", use_rsa},         {"leaky", use_leaky},
};

int main(int count, char **words) {
    for (size_t i = 0; count == 2 && i < sizeof functions / sizeof *functions; i++) {
        if (strcmp(functions[i].name, words[1])) continue;
        functions[i].run();
        return 0;
    }
    return 2;
}
