#include "keys.h"

#include "der.h"
#include "ecdsa.h"
#include "ed25519.h"
#include "key_names.h"
#include "rsa.h"
#include "rsa_private.h"
#include "sha2.h"

enum { STACK_USED = 6144, STACK_USED_RSA = 10240 };

static const struct curve *curve_of(enum key_kind kind) { return kind == KEY_P256 ? &curve_p256 : &curve_p384; }

/* RFC 8017, appendix A.1.1. */
static bool read_rsa(struct public_key *key, struct der bits) {
    struct der inside, modulus, exponent;
    if (!der_take(&bits, DER_SEQUENCE, &inside) || !der_at_end(&bits)) return false;
    if (!der_take_number(&inside, &modulus) || !der_take_number(&inside, &exponent) || !der_at_end(&inside)) return false;
    if (der_size(&exponent) > sizeof key->exponent) return false;
    for (; !der_at_end(&exponent); exponent.at++) key->exponent = key->exponent << 8 | *exponent.at;
    key->bytes = modulus.at;
    key->size = der_size(&modulus);
    return rsa_is_key(key->bytes, key->size, key->exponent);
}

static bool is_point(enum key_kind kind, const struct der *bits) {
    struct point point;
    if (kind == KEY_ED25519) return der_size(bits) == ED25519_KEY && ed25519_is_point(bits->at);
    return der_size(bits) == 1 + 2 * curve_size(curve_of(kind)) && point_load(curve_of(kind), &point, bits->at);
}

bool public_key_read(struct public_key *key, const u8 *der, size_t size) {
    struct der outside = der_of(der, size), inside, bits;
    *key = (struct public_key){0};
    if (!der_take(&outside, DER_SEQUENCE, &inside) || !der_at_end(&outside)) return false;
    if (!key_name_take(&inside, &key->kind) || !der_take_bits(&inside, &bits) || !der_at_end(&inside)) return false;
    if (key->kind == KEY_RSA) return read_rsa(key, bits);
    key->bytes = bits.at;
    key->size = der_size(&bits);
    return is_point(key->kind, &bits);
}

static void sha256(const void *message, size_t size, u8 digest[SHA256_SIZE]) {
    struct sha256 hash;
    sha256_start(&hash);
    sha256_add(&hash, message, size);
    sha256_finish(&hash, digest);
}

static size_t digest_of(enum key_kind kind, u32 scheme, const void *message, size_t size, u8 digest[SHA512_SIZE]) {
    struct sha512 hash;
    if (kind == KEY_P256 || scheme == RSA_PSS_RSAE_SHA256) {
        sha256(message, size, digest);
        return SHA256_SIZE;
    }
    if (kind == KEY_P384 || scheme == RSA_PSS_RSAE_SHA384) {
        sha384(message, size, digest);
        return SHA384_SIZE;
    }
    sha512_start(&hash);
    sha512_add(&hash, message, size);
    sha512_finish(&hash, digest);
    return SHA512_SIZE;
}

static bool scheme_fits(enum key_kind kind, u32 scheme) {
    switch (scheme) {
    case ECDSA_SECP256R1_SHA256: return kind == KEY_P256;
    case ECDSA_SECP384R1_SHA384: return kind == KEY_P384;
    case SIGNED_ED25519: return kind == KEY_ED25519;
    case RSA_PSS_RSAE_SHA256:
    case RSA_PSS_RSAE_SHA384:
    case RSA_PSS_RSAE_SHA512: return kind == KEY_RSA;
    default: return false;
    }
}

bool public_key_verify(const struct public_key *key, u32 scheme, const void *message, size_t size, const u8 *signature,
                       size_t signature_size) {
    u8 digest[SHA512_SIZE];
    if (!scheme_fits(key->kind, scheme)) return false;
    if (key->kind == KEY_ED25519)
        return signature_size == ED25519_SIGNATURE && ed25519_verify(key->bytes, message, size, signature);
    const size_t digest_size = digest_of(key->kind, scheme, message, size, digest);
    if (key->kind == KEY_RSA) return rsa_verify(key->bytes, key->size, key->exponent, digest, digest_size, signature, signature_size);
    return ecdsa_verify(curve_of(key->kind), key->bytes, digest, signature, signature_size);
}

static size_t secret_size(const struct private_key *key) { return key->kind == KEY_P384 ? 48 : 32; }
static size_t public_size(const struct private_key *key) {
    return key->kind == KEY_ED25519 ? ED25519_KEY : 1 + 2 * secret_size(key);
}

/* Of kind and secret. False if the secret is none. */
static bool complete(struct private_key *key) {
    struct point point;
    if (key->kind == KEY_ED25519) {
        ed25519_public(key->public_bytes, key->secret);
        NO_SECRET(key->public_bytes, sizeof key->public_bytes);
        return true;
    }
    const struct curve *curve = curve_of(key->kind);
    const bool is_key = scalar_is_key(curve, key->secret);
    NO_SECRET(&is_key, sizeof is_key);
    if (!is_key) return false;
    point_multiply_generator(curve, &point, key->secret);
    const bool finite = point_store(curve, key->public_bytes, &point);
    NO_SECRET(key->public_bytes, sizeof key->public_bytes);
    NO_SECRET(&finite, sizeof finite);
    wipe(&point, sizeof point);
    return finite;
}

bool private_key_make(struct private_key *key, const u8 random[32]) {
    *key = (struct private_key){.kind = KEY_P256};
    memcpy(key->secret, random, 32);
    const bool made = complete(key);
    wipe_stack(STACK_USED);
    return made;
}

/* RFC 5915, and RFC 5958's own public key: each is optional, and must be the one that belongs to the secret. */
static bool take_public(const struct private_key *key, struct der *der, u32 tag, bool is_wrapped) {
    struct der inside, bits;
    if (!der_next_is(der, tag)) return true;
    if (is_wrapped) {
        if (!der_take(der, tag, &inside) || !der_take_bits(&inside, &bits) || !der_at_end(&inside)) return false;
    } else {
        if (!der_take(der, tag, &bits) || der_at_end(&bits) || *bits.at++) return false; /* an implicit tag: no tag inside */
    }
    return der_size(&bits) == public_size(key) && memcmp(bits.at, key->public_bytes, public_size(key)) == 0;
}

static bool read_ec(struct private_key *key, struct der outside) {
    struct der inside, secret, parameters;
    enum key_kind kind;
    if (!der_take(&outside, DER_SEQUENCE, &inside) || !der_at_end(&outside) || !der_take_small(&inside, 1)) return false;
    if (!der_take(&inside, DER_OCTETS, &secret) || der_size(&secret) != secret_size(key)) return false;
    memcpy(key->secret, secret.at, secret_size(key));
    if (!complete(key)) return false;
    if (der_take(&inside, DER_CONTEXT_CONSTRUCTED + 0, &parameters))
        if (!key_name_take_curve(&parameters, &kind) || kind != key->kind || !der_at_end(&parameters)) return false;
    return take_public(key, &inside, DER_CONTEXT_CONSTRUCTED + 1, true) && der_at_end(&inside);
}

static bool read_ed25519(struct private_key *key, struct der outside) {
    struct der seed;
    if (!der_take(&outside, DER_OCTETS, &seed) || !der_at_end(&outside) || der_size(&seed) != ED25519_KEY) return false;
    memcpy(key->secret, seed.at, ED25519_KEY);
    return complete(key);
}

static bool read_rsa_private(struct private_key *key, struct der der) {
    struct rsa_private numbers;
    key->rsa = der.at;
    key->rsa_size = der_size(&der);
    const bool read = rsa_private_read(&numbers, der);
    wipe(&numbers, sizeof numbers);
    return read;
}

static bool read_secret(struct private_key *key, struct der octets) {
    if (key->kind == KEY_ED25519) return read_ed25519(key, octets);
    return key->kind == KEY_RSA ? read_rsa_private(key, octets) : read_ec(key, octets);
}

static bool read_private(struct private_key *key, struct der outside) {
    struct der inside, octets, attributes;
    if (!der_take(&outside, DER_SEQUENCE, &inside) || !der_at_end(&outside)) return false;
    const bool with_public = der_take_small(&inside, 1);
    if (!with_public && !der_take_small(&inside, 0)) return false;
    if (!key_name_take(&inside, &key->kind) || !der_take(&inside, DER_OCTETS, &octets)) return false;
    if (!read_secret(key, octets)) return false;
    if (der_next_is(&inside, DER_CONTEXT_CONSTRUCTED) && !der_take(&inside, DER_CONTEXT_CONSTRUCTED, &attributes)) return false;
    if (with_public && key->kind != KEY_RSA && !take_public(key, &inside, DER_CONTEXT + 1, false)) return false;
    return der_at_end(&inside);
}

bool private_key_read(struct private_key *key, const u8 *der, size_t size) {
    *key = (struct private_key){0};
    const bool read = read_private(key, der_of(der, size));
    if (!read) wipe(key, sizeof *key);
    wipe_stack(STACK_USED);
    return read;
}

enum signature_scheme private_key_scheme(const struct private_key *key) {
    if (key->kind == KEY_ED25519) return SIGNED_ED25519;
    if (key->kind == KEY_RSA) return RSA_PSS_RSAE_SHA256;
    return key->kind == KEY_P256 ? ECDSA_SECP256R1_SHA256 : ECDSA_SECP384R1_SHA384;
}

bool private_key_is_of(const struct private_key *key, const struct public_key *public_key) {
    struct rsa_private numbers;
    if (key->kind != public_key->kind) return false;
    if (key->kind != KEY_RSA) return memcmp(key->public_bytes, public_key->bytes, public_size(key)) == 0;
    if (!rsa_private_read(&numbers, der_of(key->rsa, key->rsa_size))) return false;
    const size_t size = der_size(&numbers.modulus);
    return size == public_key->size && numbers.exponent == public_key->exponent && memcmp(numbers.modulus.at, public_key->bytes, size) == 0;
}

static size_t sign_rsa(const struct private_key *key, const u8 random[SIGNING_RANDOM], const u8 *digest, u8 signature[SIGNATURE_MAX]) {
    struct rsa_private numbers;
    if (!rsa_private_read(&numbers, der_of(key->rsa, key->rsa_size))) return 0;
    const size_t made = rsa_private_sign(&numbers, digest, random, signature) ? der_size(&numbers.modulus) : 0;
    wipe(&numbers, sizeof numbers); /* addresses, which say how long the key's numbers are */
    wipe_stack(STACK_USED_RSA);
    return made;
}

size_t private_key_sign(const struct private_key *key, const u8 random[SIGNING_RANDOM], const void *message, size_t size,
                        u8 signature[SIGNATURE_MAX]) {
    u8 digest[SHA512_SIZE];
    if (key->kind == KEY_ED25519) {
        ed25519_sign(key->secret, key->public_bytes, message, size, signature);
        return ED25519_SIGNATURE;
    }
    digest_of(key->kind, private_key_scheme(key), message, size, digest);
    if (key->kind == KEY_RSA) return sign_rsa(key, random, digest, signature);
    const size_t made = ecdsa_sign(curve_of(key->kind), key->secret, digest, random, SIGNING_RANDOM, signature);
    wipe_stack(STACK_USED);
    return made;
}

size_t private_key_spki(const struct private_key *key, u8 der[SPKI_MAX]) {
    if (key->kind == KEY_RSA) return 0;
    struct der_writer writer = der_write_to(der, SPKI_MAX);
    const u8 *end = writer.at;
    der_put(&writer, key->public_bytes, public_size(key));
    der_put_byte(&writer, 0); /* no unused bits */
    der_wrap(&writer, DER_BITS, end);
    key_name_put(&writer, key->kind);
    der_wrap(&writer, DER_SEQUENCE, end);
    const size_t size = (size_t)(end - writer.at);
    for (size_t i = 0; i < size; i++) der[i] = writer.at[i];
    return size;
}
