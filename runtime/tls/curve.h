/* The curves P-256 and P-384 (FIPS 186-5; SEC 2): points, in constant time. */
#ifndef CLOISTER_TLS_CURVE_H
#define CLOISTER_TLS_CURVE_H

#include "field.h"

struct curve {
    struct field field, order; /* coordinates are modulo the one, scalars modulo the other */
    element b, x, y;           /* y^2 = x^3 - 3 x + b, and the generator, in Montgomery's form */
};

extern const struct curve curve_p256, curve_p384;

enum { COMB_TABLES = 2, COMB_POINTS = 15 };
/* Sums of P-256's generator times 1, 2^64, 2^128 and 2^192: number i - 1 has those whose bits are in i. Behind them the same times 2^32.
 * Without a last coordinate. */
extern const u64 curve_p256_comb[COMB_TABLES][COMB_POINTS][2][4];

/* Projective coordinates x / z, y / z; z = 0 for the point at infinity. */
struct point {
    element x, y, z;
};

/* How long a coordinate or a scalar is. */
static inline size_t curve_size(const struct curve *curve) { return 8 * curve->field.limbs; }

/* From the uncompressed form (SEC 1, section 2.3.4), of 1 + 2 * curve_size bytes. False if it is another form, or no point. */
NODISCARD bool point_load(const struct curve *curve, struct point *point, const u8 *bytes);
/* To the same. False, and zeros, of the point at infinity. */
NODISCARD bool point_store(const struct curve *curve, u8 *bytes, const struct point *point);
void point_add(const struct curve *curve, struct point *sum, const struct point *a, const struct point *b);
/* The scalar is big-endian, of curve_size bytes. */
void point_multiply(const struct curve *curve, struct point *product, const u8 *scalar, const struct point *point);
/* The scalar is less than the order. */
void point_multiply_generator(const struct curve *curve, struct point *product, const u8 *scalar);
/* comb.c: the same for P-256. */
void point_multiply_by_comb(struct point *product, const u8 scalar[32]);
/* Twice the point, so many times. */
void point_double(const struct curve *curve, struct point *point, int times);

/* Whether bytes are a private key: neither 0 nor the order or more. */
NODISCARD bool scalar_is_key(const struct curve *curve, const u8 *scalar);

#endif
