/* Numbers modulo p = 2^255 - 19, of which the points of X25519 and Ed25519 are made, in constant time. A number is five limbs of 51
 * bits, least significant first. Limbs may be somewhat larger in between: "reduced" here means below 2^51 + 2^13, which is what
 * multiply and load leave; add and subtract take reduced numbers and leave limbs below 2^53, which is what multiply takes. */
#ifndef CLOISTER_COORDINATE_H
#define CLOISTER_COORDINATE_H

#include "bytes.h"

enum { COORDINATE_SIZE = 32 };
#define COORDINATE_LIMB ((1UL << 51) - 1)

typedef struct {
    u64 limb[5];
} coordinate;

/* Modulo p: 2^255 = 19, so that limb i + j, if it is beyond the fifth, counts 19 times in limb i + j - 5. A sum of five products
 * and their factors 19 is below 2^(53 + 53 + 7); the carry out of the fifth limb, that has no factor, below 2^58. */
static inline void coordinate_multiply(coordinate *product, const coordinate *x, const coordinate *y) {
    const u64 *a = x->limb, *b = y->limb;
    const u64 b1 = 19 * b[1], b2 = 19 * b[2], b3 = 19 * b[3], b4 = 19 * b[4];
    u128 sum = (u128)a[0] * b[0] + (u128)a[1] * b4 + (u128)a[2] * b3 + (u128)a[3] * b2 + (u128)a[4] * b1;
    const u64 c0 = (u64)sum & COORDINATE_LIMB;
    sum = (u128)a[0] * b[1] + (u128)a[1] * b[0] + (u128)a[2] * b4 + (u128)a[3] * b3 + (u128)a[4] * b2 + (u64)(sum >> 51);
    const u64 c1 = (u64)sum & COORDINATE_LIMB;
    sum = (u128)a[0] * b[2] + (u128)a[1] * b[1] + (u128)a[2] * b[0] + (u128)a[3] * b4 + (u128)a[4] * b3 + (u64)(sum >> 51);
    const u64 c2 = (u64)sum & COORDINATE_LIMB;
    sum = (u128)a[0] * b[3] + (u128)a[1] * b[2] + (u128)a[2] * b[1] + (u128)a[3] * b[0] + (u128)a[4] * b4 + (u64)(sum >> 51);
    const u64 c3 = (u64)sum & COORDINATE_LIMB;
    sum = (u128)a[0] * b[4] + (u128)a[1] * b[3] + (u128)a[2] * b[2] + (u128)a[3] * b[1] + (u128)a[4] * b[0] + (u64)(sum >> 51);
    const u64 folded = c0 + 19 * (u64)(sum >> 51);
    *product = (coordinate){{folded & COORDINATE_LIMB, c1 + (folded >> 51), c2, c3, (u64)sum & COORDINATE_LIMB}};
}

/* The same of x and x, where most products come twice. */
static inline void coordinate_square(coordinate *square, const coordinate *x) {
    const u64 *a = x->limb;
    const u64 twice0 = 2 * a[0], twice1 = 2 * a[1], twice2 = 2 * a[2], a3 = 19 * a[3], a4 = 19 * a[4];
    u128 sum = (u128)a[0] * a[0] + (u128)twice1 * a4 + (u128)twice2 * a3;
    const u64 c0 = (u64)sum & COORDINATE_LIMB;
    sum = (u128)twice0 * a[1] + (u128)twice2 * a4 + (u128)a[3] * a3 + (u64)(sum >> 51);
    const u64 c1 = (u64)sum & COORDINATE_LIMB;
    sum = (u128)twice0 * a[2] + (u128)a[1] * a[1] + (u128)(2 * a[3]) * a4 + (u64)(sum >> 51);
    const u64 c2 = (u64)sum & COORDINATE_LIMB;
    sum = (u128)twice0 * a[3] + (u128)twice1 * a[2] + (u128)a[4] * a4 + (u64)(sum >> 51);
    const u64 c3 = (u64)sum & COORDINATE_LIMB;
    sum = (u128)twice0 * a[4] + (u128)twice1 * a[3] + (u128)a[2] * a[2] + (u64)(sum >> 51);
    const u64 folded = c0 + 19 * (u64)(sum >> 51);
    *square = (coordinate){{folded & COORDINATE_LIMB, c1 + (folded >> 51), c2, c3, (u64)sum & COORDINATE_LIMB}};
}

static inline void coordinate_add(coordinate *sum, const coordinate *x, const coordinate *y) {
    for (int i = 0; i < 5; i++) sum->limb[i] = x->limb[i] + y->limb[i];
}

/* Adds 2p, so that no limb falls below 0. */
static inline void coordinate_subtract(coordinate *difference, const coordinate *x, const coordinate *y) {
    const u64 twice = 2 * COORDINATE_LIMB;
    difference->limb[0] = x->limb[0] + (twice - 36) - y->limb[0];
    for (int i = 1; i < 5; i++) difference->limb[i] = x->limb[i] + twice - y->limb[i];
}

/* Exchanges x and y if `bit` is 1, and does the same work if it is 0. */
static inline void coordinate_exchange(coordinate *x, coordinate *y, u64 bit) {
    const u64 mask = 0 - opaque(bit);
    for (int i = 0; i < 5; i++) {
        const u64 difference = mask & (x->limb[i] ^ y->limb[i]);
        x->limb[i] ^= difference;
        y->limb[i] ^= difference;
    }
}

/* x of e ones and y of f ones in their exponents, as powers of one number, become one of e + f. */
static __attribute__((noinline, unused)) void coordinate_join(coordinate *joined, const coordinate *x, const coordinate *y, int f) {
    coordinate power = *x;
    for (int i = 0; i < f; i++) coordinate_square(&power, &power);
    coordinate_multiply(joined, &power, y);
    wipe(&power, sizeof power);
}

/* x^e, where e has 250 bits that are all set and then `count` more, which are `lowest`. */
static __attribute__((noinline, unused)) void coordinate_power(coordinate *result, const coordinate *x, int count, u32 lowest) {
    coordinate ones = *x, ten, fifty;
    for (int i = 0; i < 4; i++) coordinate_join(&ones, &ones, x, 1);
    coordinate_join(&ten, &ones, &ones, 5);
    coordinate_join(&ones, &ten, &ten, 10);
    coordinate_join(&ones, &ones, &ones, 20);
    coordinate_join(&fifty, &ones, &ten, 10);
    coordinate_join(&ones, &fifty, &fifty, 50);
    coordinate_join(&ones, &ones, &ones, 100);
    coordinate_join(&ones, &ones, &fifty, 50);
    for (int bit = count - 1; bit >= 0; bit--) {
        coordinate_square(&ones, &ones);
        if (lowest >> bit & 1) coordinate_multiply(&ones, &ones, x);
    }
    *result = ones;
    wipe(&ones, sizeof ones);
    wipe(&ten, sizeof ten);
    wipe(&fifty, sizeof fifty);
}

/* x^(p - 2) = 1/x, or 0 for 0. */
static inline void coordinate_invert(coordinate *inverse, const coordinate *x) { coordinate_power(inverse, x, 5, 11); }

/* Ignores the highest bit, and takes numbers from p on, as RFC 7748, section 5 demands. */
static inline void coordinate_load(coordinate *x, const u8 bytes[COORDINATE_SIZE]) {
    x->limb[0] = load64(bytes) & COORDINATE_LIMB;
    x->limb[1] = (load64(bytes + 6) >> 3) & COORDINATE_LIMB;
    x->limb[2] = (load64(bytes + 12) >> 6) & COORDINATE_LIMB;
    x->limb[3] = (load64(bytes + 19) >> 1) & COORDINATE_LIMB;
    x->limb[4] = (load64(bytes + 24) >> 12) & COORDINATE_LIMB;
}

/* Of a reduced x the one number below p. x is below 2p; x + 19 reaches 2^255 exactly if x is not below p, and then x - p is
 * x + 19 without the bits from 2^255 on. */
static inline void coordinate_store(u8 bytes[COORDINATE_SIZE], const coordinate *x) {
    u64 limb[5], over = 19;
    for (int i = 0; i < 5; i++) over = (x->limb[i] + over) >> 51;
    over *= 19;
    for (int i = 0; i < 5; i++) {
        over += x->limb[i];
        limb[i] = over & COORDINATE_LIMB;
        over >>= 51;
    }
    store64(bytes, limb[0] | limb[1] << 51);
    store64(bytes + 8, limb[1] >> 13 | limb[2] << 38);
    store64(bytes + 16, limb[2] >> 26 | limb[3] << 25);
    store64(bytes + 24, limb[3] >> 39 | limb[4] << 12);
    wipe(limb, sizeof limb);
}

#endif
