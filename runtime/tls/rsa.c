#include "rsa.h"

#include "montgomery.h"
#include "sha2.h"

enum { LIMBS = RSA_BYTES_MAX / 8, PSS_END = 0xbc, PSS_ZEROS = 8 };

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

static void multiply(struct numbers *n, u64 *product, const u64 *a, const u64 *b) {
    montgomery_multiply(product, a, b, n->modulus, n->inverse, n->room, n->limbs);
}

/* signature^exponent, into `encoded` of as many bytes as the modulus has. False if the signature is not less than the modulus. */
static bool recover(struct numbers *n, u64 exponent, const u8 *signature, u8 *encoded, size_t size) {
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

struct part {
    const void *bytes;
    size_t size;
};

static void digest_parts(u8 *digest, size_t digest_size, const struct part *part, int count) {
    struct sha256 small;
    struct sha512 large;
    if (digest_size == SHA256_SIZE) {
        sha256_start(&small);
        for (int i = 0; i < count; i++) sha256_add(&small, part[i].bytes, part[i].size);
        sha256_finish(&small, digest);
        return;
    }
    if (digest_size == SHA384_SIZE) sha384_start(&large);
    else sha512_start(&large);
    for (int i = 0; i < count; i++) sha512_add(&large, part[i].bytes, part[i].size);
    if (digest_size == SHA384_SIZE) sha384_finish(&large, digest);
    else sha512_finish(&large, digest);
}

/* Appendix B.2.1: MGF1, exclusive-or'ed into the text. */
static void unmask(u8 *text, size_t size, const u8 *seed, size_t seed_size) {
    u8 mask[SHA512_SIZE], counter[4];
    for (size_t done = 0; done < size; done += seed_size) {
        store32(counter, __builtin_bswap32((u32)(done / seed_size)));
        const struct part part[2] = {{seed, seed_size}, {counter, sizeof counter}};
        digest_parts(mask, seed_size, part, 2);
        for (size_t i = 0; i < seed_size && done + i < size; i++) text[done + i] ^= mask[i];
    }
}

/* Section 9.1.2, with a salt of the digest's size. `encoded` has bits - 1 bits at most. */
static bool is_encoding(u8 *encoded, size_t size, size_t unused_bits, const u8 *digest, size_t digest_size) {
    const size_t masked = size - digest_size - 1, zeros = masked - digest_size - 1;
    u8 *const hash = encoded + masked, right[SHA512_SIZE];
    static const u8 padding[PSS_ZEROS];
    if (encoded[size - 1] != PSS_END || encoded[0] >> (8 - unused_bits)) return false;
    unmask(encoded, masked, hash, digest_size);
    encoded[0] &= (u8)(0xff >> unused_bits);
    for (size_t i = 0; i < zeros; i++)
        if (encoded[i]) return false;
    if (encoded[zeros] != 1) return false;
    const struct part part[3] = {{padding, sizeof padding}, {digest, digest_size}, {encoded + zeros + 1, digest_size}};
    digest_parts(right, digest_size, part, 3);
    return memcmp(right, hash, digest_size) == 0;
}

bool rsa_verify(const u8 *modulus, size_t size, u64 exponent, const u8 *digest, size_t digest_size, const u8 *signature,
                size_t signature_size) {
    struct numbers n;
    u8 encoded[RSA_BYTES_MAX];
    const size_t bits = 8 * size - (size_t)(__builtin_clz(modulus[0]) - 24), encoded_bits = bits - 1;
    if (signature_size != size) return false;
    n.limbs = (size + 7) / 8;
    load(n.modulus, n.limbs, modulus, size);
    n.inverse = montgomery_inverse(n.modulus[0]);
    make_square(&n, bits);
    if (!recover(&n, exponent, signature, encoded, size)) return false;
    if (encoded_bits % 8) return is_encoding(encoded, size, 8 - encoded_bits % 8, digest, digest_size);
    return !encoded[0] && is_encoding(encoded + 1, size - 1, 0, digest, digest_size);
}
