/* Numbers modulo the primes of P-256 and P-384 and of these curves' and edwards25519's orders, in Montgomery's form (montgomery.h) and
 * in constant time, but for the modulus, which is no secret. */
#ifndef CLOISTER_TLS_FIELD_H
#define CLOISTER_TLS_FIELD_H

#include "bytes.h"

enum { FIELD_LIMBS = 6, FIELD_BYTES = 8 * FIELD_LIMBS };

typedef struct {
    u64 limb[FIELD_LIMBS]; /* those beyond the field's are not used */
} element;

struct field {
    element modulus, one, square; /* R and R^2 modulo the modulus */
    u64 inverse;
    size_t limbs; /* 4 or 6 */
};

/* Results may be arguments. */
void field_add(const struct field *field, element *sum, const element *a, const element *b);
void field_subtract(const struct field *field, element *difference, const element *a, const element *b);
void field_multiply(const struct field *field, element *product, const element *a, const element *b);
/* 1 / a, and 0 of 0. */
void field_invert(const struct field *field, element *inverse, const element *a);

/* Of big-endian bytes, as many as the field has, whatever number they are. */
void field_reduce(const struct field *field, element *a, const u8 *bytes);
/* The same. False if the number is not less than the modulus. */
NODISCARD bool field_load(const struct field *field, element *a, const u8 *bytes);
void field_store(const struct field *field, u8 *bytes, const element *a);
/* All ones if a is 0, else 0. */
u64 field_zero_mask(const struct field *field, const element *a);

#endif
