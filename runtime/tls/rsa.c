#include "rsa.h"

#include "montgomery.h"
#include "rsa_pss.h"

enum { LIMBS = RSA_BYTES_MAX / 8 };

struct numbers {
    u64 modulus[LIMBS], square[LIMBS], base[LIMBS], power[LIMBS], room[2 * LIMBS];
    u64 inverse;
    size_t limbs;
};

bool rsa_is_key(const u8 *modulus, size_t size, u64 exponent) {
    if (size < RSA_BYTES_MIN || size > RSA_BYTES_MAX || !modulus[0] || !(modulus[size - 1] & 1)) return false;
    return (size > RSA_BYTES_MIN || modulus[0] & 0x80) && exponent >= 3 && exponent & 1;
}

static void load(u64 *limb, size_t limbs, const u8 *bytes, size_t size) {
    for (size_t i = 0; i < limbs; i++) limb[i] = 0;
    for (size_t i = 0; i < size; i++) limb[i / 8] |= (u64)bytes[size - 1 - i] << i % 8 * 8;
}

/* Twice the number, which is less than the modulus, modulo it. */
static void add_to_itself(struct numbers *n, u64 *a) {
    u64 carry = 0;
    for (size_t i = 0; i < n->limbs; i++) {
        const u64 next = a[i] >> 63;
        a[i] = a[i] << 1 | carry;
        carry = next;
    }
    montgomery_reduce_once(a, a, carry, n->modulus, n->room, n->limbs);
}

/* R^2: a power of 2 less than the modulus, doubled until it is 2^(128 limbs). */
static void make_square(struct numbers *n, size_t bits) {
    for (size_t i = 0; i < n->limbs; i++) n->square[i] = 0;
    n->square[(bits - 1) / 64] = 1UL << (bits - 1) % 64; /* less than the modulus, which has this bit too and is odd */
    for (size_t bit = bits - 1; bit < 128 * n->limbs; bit++) add_to_itself(n, n->square);
}

static __attribute__((noinline)) void multiply(struct numbers *n, u64 *product, const u64 *a, const u64 *b) {
    montgomery_multiply(product, a, b, n->modulus, n->inverse, n->room, n->limbs);
}

/* Into `encoded`. False if the signature is not less than the modulus. */
static bool power(struct numbers *n, u64 exponent, const u8 *signature, u8 *encoded, size_t size) {
    const u64 one[LIMBS] = {1};
    load(n->base, n->limbs, signature, size);
    if (!montgomery_subtract(n->room, n->base, n->modulus, n->limbs)) return false;
    multiply(n, n->base, n->base, n->square);
    for (size_t i = 0; i < n->limbs; i++) n->power[i] = n->base[i];
    for (int bit = 62 - __builtin_clzll(exponent); bit >= 0; bit--) {
        multiply(n, n->power, n->power, n->power);
        if (exponent >> bit & 1) multiply(n, n->power, n->power, n->base);
    }
    multiply(n, n->power, n->power, one);
    for (size_t i = 0; i < size; i++) encoded[size - 1 - i] = (u8)(n->power[i / 8] >> i % 8 * 8);
    return true;
}

bool rsa_recover(const u8 *modulus, size_t size, u64 exponent, const u8 *signature, u8 *encoded) {
    struct numbers n;
    n.limbs = (size + 7) / 8;
    load(n.modulus, n.limbs, modulus, size);
    n.inverse = montgomery_inverse(n.modulus[0]);
    make_square(&n, rsa_bits(modulus, size));
    return power(&n, exponent, signature, encoded, size);
}

bool rsa_verify(const u8 *modulus, size_t size, u64 exponent, const u8 *digest, size_t digest_size, const u8 *signature,
                size_t signature_size) {
    u8 encoded[RSA_BYTES_MAX];
    if (signature_size != size || !rsa_recover(modulus, size, exponent, signature, encoded)) return false;
    return pss_verify(encoded, rsa_bits(modulus, size), digest, digest_size);
}
