#include "field.h"

#include "montgomery.h"

enum { ROOM = 2 * FIELD_LIMBS };

/* The number of limbs as a constant, so that the compiler makes straight code of the loops. */
static inline __attribute__((always_inline)) void add(const u64 *m, u64 *sum, const u64 *a, const u64 *b, size_t n) {
    u64 carry = 0, whole[FIELD_LIMBS], room[FIELD_LIMBS];
#pragma GCC unroll 6
    for (size_t i = 0; i < n; i++) {
        const u128 one = (u128)a[i] + b[i] + carry;
        whole[i] = (u64)one;
        carry = (u64)(one >> 64);
    }
    montgomery_reduce_once(sum, whole, carry, m, room, n);
}

void field_add(const struct field *field, element *sum, const element *a, const element *b) {
    if (field->limbs == 4) add(field->modulus.limb, sum->limb, a->limb, b->limb, 4);
    else add(field->modulus.limb, sum->limb, a->limb, b->limb, FIELD_LIMBS);
}

static inline __attribute__((always_inline)) void subtract(const u64 *m, u64 *difference, const u64 *a, const u64 *b, size_t n) {
    u64 carry = 0;
    const u64 mask = 0 - opaque(montgomery_subtract(difference, a, b, n));
#pragma GCC unroll 6
    for (size_t i = 0; i < n; i++) {
        const u128 one = (u128)difference[i] + (m[i] & mask) + carry;
        difference[i] = (u64)one;
        carry = (u64)(one >> 64);
    }
}

void field_subtract(const struct field *field, element *difference, const element *a, const element *b) {
    if (field->limbs == 4) subtract(field->modulus.limb, difference->limb, a->limb, b->limb, 4);
    else subtract(field->modulus.limb, difference->limb, a->limb, b->limb, FIELD_LIMBS);
}

/* P-256's p = 2^256 - 2^224 + 2^192 + 2^96 - 1 is -1 modulo 2^64, so that the lowest limb f itself is the factor, and f * p is
 * added by shifts: its limbs are -f, f * 2^32 + carry f, 0 and a true product. */
static void multiply_p256(u64 *product, const u64 *a, const u64 *b, const u64 *p) {
    u64 s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4, room[4];
    u64 above = 0;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        u128 sum = (u128)a[0] * b[i] + s0;
        const u64 f = (u64)sum;
        sum = (u128)a[1] * b[i] + s1 + (u64)(sum >> 64);
        s1 = (u64)sum;
        sum = (u128)a[2] * b[i] + s2 + (u64)(sum >> 64);
        s2 = (u64)sum;
        sum = (u128)a[3] * b[i] + s3 + (u64)(sum >> 64);
        s3 = (u64)sum;
        sum = (u128)above + (u64)(sum >> 64);
        s4 = (u64)sum;
        above = (u64)(sum >> 64);
        sum = (u128)s1 + (f << 32);
        s0 = (u64)sum;
        sum = (u128)s2 + (f >> 32) + (u64)(sum >> 64);
        s1 = (u64)sum;
        sum = (u128)f * 0xffffffff00000001 + s3 + (u64)(sum >> 64);
        s2 = (u64)sum;
        sum = (u128)s4 + (u64)(sum >> 64);
        s3 = (u64)sum;
        above += (u64)(sum >> 64);
    }
    const u64 whole[4] = {s0, s1, s2, s3};
    montgomery_reduce_once(product, whole, above, p, room, 4);
}

void field_multiply(const struct field *field, element *product, const element *a, const element *b) {
    const u64 *m = field->modulus.limb;
    u64 room[ROOM];
    if (field->inverse == 1) multiply_p256(product->limb, a->limb, b->limb, m);
    else if (field->limbs == 4) montgomery_multiply(product->limb, a->limb, b->limb, m, field->inverse, room, 4);
    else montgomery_multiply(product->limb, a->limb, b->limb, m, field->inverse, room, FIELD_LIMBS);
}

/* a^(modulus - 2), by four bits of the exponent at once; the lowest limb of no modulus here is less than 2. */
void field_invert(const struct field *field, element *inverse, const element *a) {
    element power[16], result;
    power[0] = field->one;
    for (int i = 1; i < 16; i++) field_multiply(field, &power[i], &power[i - 1], a);
    result = field->one;
    for (size_t limb = field->limbs; limb-- > 0;) {
        const u64 exponent = field->modulus.limb[limb] - (limb ? 0 : 2);
        for (int shift = 60; shift >= 0; shift -= 4) {
            for (int i = 0; i < 4; i++) field_multiply(field, &result, &result, &result);
            field_multiply(field, &result, &result, &power[exponent >> shift & 15]);
        }
    }
    *inverse = result;
    wipe(power, sizeof power);
    wipe(&result, sizeof result);
}

static u64 load(const struct field *field, element *a, const u8 *bytes) {
    element given, room;
    for (size_t i = 0; i < field->limbs; i++) given.limb[i] = __builtin_bswap64(load64(bytes + 8 * (field->limbs - 1 - i)));
    const u64 below = montgomery_subtract(room.limb, given.limb, field->modulus.limb, field->limbs);
    field_multiply(field, a, &given, &field->square);
    wipe(&given, sizeof given);
    wipe(&room, sizeof room);
    return below;
}

void field_reduce(const struct field *field, element *a, const u8 *bytes) { load(field, a, bytes); }

bool field_load(const struct field *field, element *a, const u8 *bytes) { return load(field, a, bytes); }

void field_store(const struct field *field, u8 *bytes, const element *a) {
    const element plain_one = {{1}};
    element plain;
    field_multiply(field, &plain, a, &plain_one);
    for (size_t i = 0; i < field->limbs; i++) store64(bytes + 8 * (field->limbs - 1 - i), __builtin_bswap64(plain.limb[i]));
    wipe(&plain, sizeof plain);
}

u64 field_zero_mask(const struct field *field, const element *a) {
    u64 any = 0;
    for (size_t i = 0; i < field->limbs; i++) any |= a->limb[i];
    return (opaque(any | (0 - any)) >> 63) - 1;
}
