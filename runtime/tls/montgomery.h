/* Montgomery's multiplication: numbers of `n` limbs of 64 bits, least significant first, modulo an odd number m. A number x is kept
 * as x * R with R = 2^(64 n), so that a product is divided by R instead of m. In constant time. */
#ifndef CLOISTER_TLS_MONTGOMERY_H
#define CLOISTER_TLS_MONTGOMERY_H

#include "bytes.h"

/* Adds a * b to the number at `sum`, of n limbs; what is carried out. */
static inline __attribute__((always_inline)) u64 montgomery_add_product(u64 *sum, const u64 *a, u64 b, size_t n) {
    u64 carry = 0;
#pragma GCC unroll 6
    for (size_t i = 0; i < n; i++) {
        const u128 one = (u128)a[i] * b + sum[i] + carry;
        sum[i] = (u64)one;
        carry = (u64)(one >> 64);
    }
    return carry;
}

/* a - b; 1 if it is below 0, and then 2^(64 n) more. `difference` may be a or b. */
static inline __attribute__((always_inline)) u64 montgomery_subtract(u64 *difference, const u64 *a, const u64 *b, size_t n) {
    u64 borrow = 0;
#pragma GCC unroll 6
    for (size_t i = 0; i < n; i++) {
        const u128 one = (u128)a[i] - b[i] - borrow;
        difference[i] = (u64)one;
        borrow = (u64)(one >> 64) & 1;
    }
    return borrow;
}

/* `to` = a where `mask` is all ones, b where it is 0. */
static inline __attribute__((always_inline)) void montgomery_choose(u64 *to, const u64 *a, const u64 *b, u64 mask, size_t n) {
    mask = opaque(mask);
#pragma GCC unroll 6
    for (size_t i = 0; i < n; i++) to[i] = (a[i] & mask) | (b[i] & ~mask);
}

/* The number of n limbs at `x` and `above` * 2^(64 n), below 2 m, made less than m. `room`: n limbs. */
static inline __attribute__((always_inline)) void montgomery_reduce_once(u64 *to, const u64 *x, u64 above, const u64 *m, u64 *room, size_t n) {
    const u64 below = montgomery_subtract(room, x, m, n) & (above ^ 1);
    montgomery_choose(to, x, room, 0 - below, n);
}

/* a * b / R modulo m, less than m if a * b is less than R * m. `inverse` is montgomery_inverse(m[0]); `room`: 2 n limbs. The
 * product may be a or b. */
static inline __attribute__((always_inline)) void montgomery_multiply(u64 *product, const u64 *a, const u64 *b, const u64 *m, u64 inverse,
                                                                      u64 *room, size_t n) {
    u64 *sum = room, above = 0;
    for (size_t i = 0; i < n; i++) room[i] = 0;
#pragma GCC unroll 6
    for (size_t i = 0; i < n; i++) {
        const u64 first = montgomery_add_product(sum, a, b[i], n);
        const u64 factor = sum[0] * inverse; /* makes the lowest limb 0 */
        const u64 second = montgomery_add_product(sum, m, factor, n);
        const u128 top = (u128)above + first + second;
#pragma GCC unroll 6
        for (size_t j = 0; j + 1 < n; j++) sum[j] = sum[j + 1];
        sum[n - 1] = (u64)top;
        above = (u64)(top >> 64);
    }
    montgomery_reduce_once(product, sum, above, m, room + n, n);
}

/* -1 / limb modulo 2^64, of an odd limb: each step doubles the bits that are right, of which there are 3 at first. */
static inline u64 montgomery_inverse(u64 limb) {
    u64 inverse = limb;
    for (int i = 0; i < 5; i++) inverse *= 2 - limb * inverse;
    return 0 - inverse;
}

#endif
