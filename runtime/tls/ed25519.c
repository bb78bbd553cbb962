#include "ed25519.h"

#include "edwards.h"
#include "field.h"
#include "sha2.h"

enum { STACK_USED = 6144 };

/* Section 5.1: the order of the base point, 2^252 + 27742317777372353535851937790883648493. */
static const struct field order = {
    .modulus = {{0x5812631a5cf5d3ed, 0x14def9dea2f79cd6, 0x0000000000000000, 0x1000000000000000}},
    .one = {{0xd6ec31748d98951d, 0xc6ef5bf4737dcf70, 0xfffffffffffffffe, 0x0fffffffffffffff}},
    .square = {{0xa40611e3449c0f01, 0xd00e1ba768859347, 0xceec73d217f5be65, 0x0399411b7c309a3d}},
    .inverse = 0xd2b51da312547e1b, .limbs = 4,
};

/* field.h has numbers in the other order of bytes. */
static void turn(u8 to[ED25519_KEY], const u8 from[ED25519_KEY]) {
    for (int i = 0; i < ED25519_KEY; i++) to[i] = from[ED25519_KEY - 1 - i];
}

static void load_scalar(element *a, const u8 bytes[ED25519_KEY]) {
    u8 turned[ED25519_KEY];
    turn(turned, bytes);
    field_reduce(&order, a, turned);
    wipe(turned, sizeof turned);
}

static void store_scalar(u8 bytes[ED25519_KEY], const element *a) {
    u8 turned[ED25519_KEY];
    field_store(&order, turned, a);
    turn(bytes, turned);
    wipe(turned, sizeof turned);
}

/* Of a number of 64 bytes: its upper half counts 2^256 times, which is what makes a number's Montgomery form. */
static void load_digest(element *a, const u8 digest[SHA512_SIZE]) {
    element upper;
    load_scalar(&upper, digest + ED25519_KEY);
    load_scalar(a, digest);
    field_multiply(&order, &upper, &upper, &order.square);
    field_add(&order, a, a, &upper);
    wipe(&upper, sizeof upper);
}

/* Section 5.1.5, steps 1 and 2: the scalar, and behind it what the nonce is made of. */
static void expand(u8 expanded[SHA512_SIZE], const u8 seed[ED25519_KEY]) {
    struct sha512 hash;
    sha512_start(&hash);
    sha512_add(&hash, seed, ED25519_KEY);
    sha512_finish(&hash, expanded);
    expanded[0] &= 248;
    expanded[31] = (u8)((expanded[31] & 127) | 64);
}

/* SHA-512 of up to three parts, modulo the order. */
static void hash_to_scalar(element *a, const u8 *first, const u8 *second, const void *message, size_t size) {
    struct sha512 hash;
    u8 digest[SHA512_SIZE];
    sha512_start(&hash);
    sha512_add(&hash, first, ED25519_KEY);
    if (second) sha512_add(&hash, second, ED25519_KEY);
    sha512_add(&hash, message, size);
    sha512_finish(&hash, digest);
    load_digest(a, digest);
    wipe(digest, sizeof digest);
}

static void multiply_base(u8 point[ED25519_KEY], const u8 scalar[ED25519_KEY]) {
    struct edwards product;
    edwards_multiply(&product, scalar, &edwards_base);
    edwards_store(point, &product);
    wipe(&product, sizeof product);
}

void ed25519_public(u8 public_key[ED25519_KEY], const u8 seed[ED25519_KEY]) {
    u8 expanded[SHA512_SIZE];
    expand(expanded, seed);
    multiply_base(public_key, expanded);
    wipe(expanded, sizeof expanded);
    wipe_stack(STACK_USED);
}

/* Section 5.1.6. */
void ed25519_sign(const u8 seed[ED25519_KEY], const u8 public_key[ED25519_KEY], const void *message, size_t size,
                  u8 signature[ED25519_SIGNATURE]) {
    u8 expanded[SHA512_SIZE], bytes[ED25519_KEY];
    element nonce, scalar, challenge;
    expand(expanded, seed);
    hash_to_scalar(&nonce, expanded + ED25519_KEY, NULL, message, size);
    store_scalar(bytes, &nonce);
    multiply_base(signature, bytes);
    hash_to_scalar(&challenge, signature, public_key, message, size);
    load_scalar(&scalar, expanded);
    field_multiply(&order, &scalar, &scalar, &challenge);
    field_add(&order, &scalar, &scalar, &nonce);
    store_scalar(signature + ED25519_KEY, &scalar);
    wipe(expanded, sizeof expanded);
    wipe(bytes, sizeof bytes);
    wipe(&nonce, sizeof nonce);
    wipe(&scalar, sizeof scalar);
    wipe(&challenge, sizeof challenge); /* no secret, but then nothing is left that depends on any */
    wipe_stack(STACK_USED);
}

/* Section 5.1.7, without the cofactor, as most do it: R must be S * base - challenge * key, byte by byte. */
bool ed25519_verify(const u8 public_key[ED25519_KEY], const void *message, size_t size, const u8 signature[ED25519_SIGNATURE]) {
    struct edwards key, product;
    element scalar;
    u8 bytes[ED25519_KEY];
    turn(bytes, signature + ED25519_KEY);
    if (!field_load(&order, &scalar, bytes) || !edwards_load(&key, public_key)) return false;
    edwards_negate(&key, &key);
    hash_to_scalar(&scalar, signature, public_key, message, size);
    store_scalar(bytes, &scalar);
    edwards_multiply(&key, bytes, &key);
    edwards_multiply(&product, signature + ED25519_KEY, &edwards_base);
    edwards_add(&product, &product, &key);
    edwards_store(bytes, &product);
    return memcmp(bytes, signature, ED25519_KEY) == 0;
}

bool ed25519_is_point(const u8 public_key[ED25519_KEY]) {
    struct edwards point;
    return edwards_load(&point, public_key);
}
