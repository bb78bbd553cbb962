#include "rsa_private.h"

#include "montgomery.h"
#include "rsa.h"
#include "rsa_pss.h"

enum { PRIME_MAX = RSA_BYTES_MAX / 2, LIMBS = PRIME_MAX / 8, WINDOW = 16, BITS = 4, DIGEST = 32 };

/* What one signature has in between. */
struct signing {
    u64 prime[LIMBS], square[LIMBS], exponent[LIMBS]; /* of the prime that is at hand */
    u64 table[WINDOW][LIMBS], chosen[LIMBS], power[LIMBS], room[2 * LIMBS];
    u64 whole[2 * LIMBS]; /* what is signed, and the signature at last */
    u64 by_second[LIMBS], difference[LIMBS];
    u64 inverse;
    size_t limbs;
};

static bool read_exponent(struct rsa_private *key, struct der *der) {
    struct der bytes;
    if (!der_take_number(der, &bytes) || der_size(&bytes) > sizeof key->exponent) return false;
    for (key->exponent = 0; !der_at_end(&bytes); bytes.at++) key->exponent = key->exponent << 8 | *bytes.at;
    return true;
}

/* Primes of whole limbs with their highest bit set, as all are that halve a key of 2048, 3072 or 4096 bits. */
static bool is_prime_size(const struct rsa_private *key, const struct der *prime) {
    return 2 * der_size(prime) == der_size(&key->modulus) && der_size(prime) % 8 == 0 && *prime->at & 0x80;
}

bool rsa_private_read(struct rsa_private *key, struct der der) {
    struct der inside, whole_exponent;
    if (!der_take(&der, DER_SEQUENCE, &inside) || !der_at_end(&der) || !der_take_small(&inside, 0)) return false;
    if (!der_take_number(&inside, &key->modulus) || !read_exponent(key, &inside) || !der_take_number(&inside, &whole_exponent)) return false;
    if (!der_take_number(&inside, &key->first) || !der_take_number(&inside, &key->second)) return false;
    if (!der_take_number(&inside, &key->first_exponent) || !der_take_number(&inside, &key->second_exponent)) return false;
    if (!der_take_number(&inside, &key->coefficient) || !der_at_end(&inside)) return false;
    if (!rsa_is_key(key->modulus.at, der_size(&key->modulus), key->exponent)) return false;
    if (!is_prime_size(key, &key->first) || !is_prime_size(key, &key->second)) return false;
    const size_t most = der_size(&key->first);
    return der_size(&key->first_exponent) <= most && der_size(&key->second_exponent) <= most && der_size(&key->coefficient) <= most;
}

static void load(u64 *limb, size_t limbs, const u8 *bytes, size_t size) {
    for (size_t i = 0; i < limbs; i++) limb[i] = 0;
    for (size_t i = 0; i < size; i++) limb[i / 8] |= (u64)bytes[size - 1 - i] << i % 8 * 8;
}

static __attribute__((noinline)) void multiply(struct signing *s, u64 *product, const u64 *a, const u64 *b) {
    montgomery_multiply(product, a, b, s->prime, s->inverse, s->room, s->limbs);
}

static void add(struct signing *s, u64 *sum, const u64 *a, const u64 *b) {
    u64 carry = 0;
    for (size_t i = 0; i < s->limbs; i++) {
        const u128 one = (u128)a[i] + b[i] + carry;
        sum[i] = (u64)one;
        carry = (u64)(one >> 64);
    }
    montgomery_reduce_once(sum, sum, carry, s->prime, s->room, s->limbs);
}

/* The prime has all bits of its limbs: half of R is less than it, R^2 comes of doubling. */
static void take_prime(struct signing *s, const struct der *prime, const struct der *exponent) {
    s->limbs = der_size(prime) / 8;
    load(s->prime, s->limbs, prime->at, der_size(prime));
    load(s->exponent, s->limbs, exponent->at, der_size(exponent));
    s->inverse = montgomery_inverse(s->prime[0]);
    for (size_t i = 0; i < s->limbs; i++) s->square[i] = 0;
    s->square[s->limbs - 1] = 1UL << 63;
    for (size_t i = 0; i <= 64 * s->limbs; i++) add(s, s->square, s->square, s->square);
}

/* What is signed modulo the prime, in Montgomery's form: its upper half counts R times. */
static void reduce_whole(struct signing *s, u64 *to) {
    multiply(s, s->chosen, s->whole + s->limbs, s->square);
    multiply(s, s->chosen, s->chosen, s->square);
    multiply(s, to, s->whole, s->square);
    add(s, to, to, s->chosen);
}

/* All of the table is read: which cache lines are touched says nothing. */
static void choose(struct signing *s, u64 index) {
    for (size_t i = 0; i < s->limbs; i++) s->chosen[i] = 0;
    for (u64 entry = 0; entry < WINDOW; entry++) {
        const u64 other = entry ^ index, mask = (opaque(other | (0 - other)) >> 63) - 1;
        montgomery_choose(s->chosen, s->table[entry], s->chosen, mask, s->limbs);
    }
}

/* table[1]^exponent, in Montgomery's form. */
static void raise(struct signing *s) {
    const u64 one[LIMBS] = {1};
    multiply(s, s->table[0], s->square, one);
    for (int i = 2; i < WINDOW; i++) multiply(s, s->table[i], s->table[i - 1], s->table[1]);
    for (size_t i = 0; i < s->limbs; i++) s->power[i] = s->table[0][i];
    for (size_t at = 64 * s->limbs; at > 0; at -= BITS) {
        for (int bit = 0; bit < BITS; bit++) multiply(s, s->power, s->power, s->power);
        choose(s, s->exponent[(at - BITS) / 64] >> (at - BITS) % 64 & (WINDOW - 1));
        multiply(s, s->power, s->power, s->chosen);
    }
}

/* RFC 8017, section 5.1.2, step 2 b: of both remainders the number, second + prime * ((first - second) * coefficient modulo the other). */
static void combine(struct signing *s, const struct rsa_private *key) {
    u64 carry = 0;
    multiply(s, s->difference, s->by_second, s->square);
    const u64 below = montgomery_subtract(s->chosen, s->power, s->difference, s->limbs);
    for (size_t i = 0; i < s->limbs; i++) s->room[i] = s->prime[i] & (0 - opaque(below));
    for (size_t i = 0; i < s->limbs; i++) {
        const u128 one = (u128)s->chosen[i] + s->room[i] + carry;
        s->chosen[i] = (u64)one;
        carry = (u64)(one >> 64);
    }
    load(s->difference, s->limbs, key->coefficient.at, der_size(&key->coefficient));
    multiply(s, s->chosen, s->chosen, s->difference);
    load(s->prime, s->limbs, key->second.at, der_size(&key->second));
    for (size_t i = 0; i < s->limbs; i++) s->whole[i] = s->by_second[i], s->whole[s->limbs + i] = 0;
    for (size_t i = 0; i < s->limbs; i++)
        s->whole[s->limbs + i] += montgomery_add_product(s->whole + i, s->prime, s->chosen[i], s->limbs);
}

static void sign_in(struct signing *s, const struct rsa_private *key, const u8 *encoded, u8 *signature) {
    const u64 one[LIMBS] = {1};
    const size_t size = der_size(&key->modulus);
    take_prime(s, &key->second, &key->second_exponent);
    load(s->whole, 2 * s->limbs, encoded, size);
    reduce_whole(s, s->table[1]);
    raise(s);
    multiply(s, s->by_second, s->power, one);
    take_prime(s, &key->first, &key->first_exponent);
    reduce_whole(s, s->table[1]);
    raise(s);
    combine(s, key);
    for (size_t i = 0; i < size; i++) signature[size - 1 - i] = (u8)(s->whole[i / 8] >> i % 8 * 8);
}

/* Not inlined: its stack is free again when the signature is looked at. */
static __attribute__((noinline)) void sign(const struct rsa_private *key, const u8 *encoded, u8 *signature) {
    struct signing s;
    sign_in(&s, key, encoded, signature);
    wipe(&s, sizeof s);
}

bool rsa_private_sign(const struct rsa_private *key, const u8 digest[32], const u8 salt[32], u8 *signature) {
    u8 encoded[RSA_BYTES_MAX], again[RSA_BYTES_MAX];
    const size_t size = der_size(&key->modulus);
    pss_encode(encoded, rsa_bits(key->modulus.at, size), digest, DIGEST, salt);
    sign(key, encoded, signature);
    NO_SECRET(signature, size);
    NO_SECRET(encoded, size); /* whoever verifies the signature sees it, and the salt in it */
    const bool recovered = rsa_recover(key->modulus.at, size, key->exponent, signature, again);
    const bool same = recovered && same_secret(again, encoded, size);
    if (!same) wipe(signature, size);
    return same;
}
