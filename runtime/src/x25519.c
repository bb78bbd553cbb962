/* RFC 7748, section 5. A number modulo p = 2^255 - 19 is five limbs of 51 bits, least significant first. Limbs may be somewhat
 * larger in between: "reduced" here means below 2^51 + 2^13, which is what multiply and load leave; add and subtract
 * take reduced numbers and leave limbs below 2^53, which is what multiply takes. */
#include "x25519.h"

#include "bytes.h"

enum { STACK_USED = 512 };
#define LIMB_MASK ((1UL << 51) - 1)

typedef struct {
    u64 limb[5];
} element;

/* Modulo p: 2^255 = 19, so that limb i + j, if it is beyond the fifth, counts 19 times in limb i + j - 5. A sum of five products
 * and their factors 19 is below 2^(53 + 53 + 7); the carry out of the fifth limb, that has no factor, below 2^58. */
static void multiply(element *product, const element *x, const element *y) {
    const u64 *a = x->limb, *b = y->limb;
    const u64 b1 = 19 * b[1], b2 = 19 * b[2], b3 = 19 * b[3], b4 = 19 * b[4];
    u128 sum = (u128)a[0] * b[0] + (u128)a[1] * b4 + (u128)a[2] * b3 + (u128)a[3] * b2 + (u128)a[4] * b1;
    const u64 c0 = (u64)sum & LIMB_MASK;
    sum = (u128)a[0] * b[1] + (u128)a[1] * b[0] + (u128)a[2] * b4 + (u128)a[3] * b3 + (u128)a[4] * b2 + (u64)(sum >> 51);
    const u64 c1 = (u64)sum & LIMB_MASK;
    sum = (u128)a[0] * b[2] + (u128)a[1] * b[1] + (u128)a[2] * b[0] + (u128)a[3] * b4 + (u128)a[4] * b3 + (u64)(sum >> 51);
    const u64 c2 = (u64)sum & LIMB_MASK;
    sum = (u128)a[0] * b[3] + (u128)a[1] * b[2] + (u128)a[2] * b[1] + (u128)a[3] * b[0] + (u128)a[4] * b4 + (u64)(sum >> 51);
    const u64 c3 = (u64)sum & LIMB_MASK;
    sum = (u128)a[0] * b[4] + (u128)a[1] * b[3] + (u128)a[2] * b[2] + (u128)a[3] * b[1] + (u128)a[4] * b[0] + (u64)(sum >> 51);
    const u64 folded = c0 + 19 * (u64)(sum >> 51);
    *product = (element){{folded & LIMB_MASK, c1 + (folded >> 51), c2, c3, (u64)sum & LIMB_MASK}};
}

static void add(element *sum, const element *x, const element *y) {
    for (int i = 0; i < 5; i++) sum->limb[i] = x->limb[i] + y->limb[i];
}

/* Adds 2p, so that no limb falls below 0. */
static void subtract(element *difference, const element *x, const element *y) {
    const u64 twice = 2 * LIMB_MASK;
    difference->limb[0] = x->limb[0] + (twice - 36) - y->limb[0];
    for (int i = 1; i < 5; i++) difference->limb[i] = x->limb[i] + twice - y->limb[i];
}

/* Exchanges x and y if `bit` is 1, and does the same work if it is 0. */
static void exchange(element *x, element *y, u64 bit) {
    const u64 mask = 0 - opaque(bit);
    for (int i = 0; i < 5; i++) {
        const u64 difference = mask & (x->limb[i] ^ y->limb[i]);
        x->limb[i] ^= difference;
        y->limb[i] ^= difference;
    }
}

/* x^(p - 2) = 1/x, or 0 for 0. p - 2 = 2^255 - 21 has all its 255 bits set but number 2 and 4. */
static void invert(element *inverse, const element *x) {
    element power = *x;
    for (int bit = 253; bit >= 0; bit--) {
        multiply(&power, &power, &power);
        if (bit != 2 && bit != 4) multiply(&power, &power, x);
    }
    *inverse = power;
    wipe(&power, sizeof power);
}

/* Ignores the highest bit, and takes numbers from p on, as section 5 demands. */
static void load(element *x, const u8 bytes[X25519_SIZE]) {
    x->limb[0] = load64(bytes) & LIMB_MASK;
    x->limb[1] = (load64(bytes + 6) >> 3) & LIMB_MASK;
    x->limb[2] = (load64(bytes + 12) >> 6) & LIMB_MASK;
    x->limb[3] = (load64(bytes + 19) >> 1) & LIMB_MASK;
    x->limb[4] = (load64(bytes + 24) >> 12) & LIMB_MASK;
}

/* Of a reduced x the one number below p. x is below 2p; x + 19 reaches 2^255 exactly if x is not below p, and then x - p is
 * x + 19 without the bits from 2^255 on. */
static void store(u8 bytes[X25519_SIZE], const element *x) {
    u64 limb[5], over = 19;
    for (int i = 0; i < 5; i++) over = (x->limb[i] + over) >> 51;
    over *= 19;
    for (int i = 0; i < 5; i++) {
        over += x->limb[i];
        limb[i] = over & LIMB_MASK;
        over >>= 51;
    }
    store64(bytes, limb[0] | limb[1] << 51);
    store64(bytes + 8, limb[1] >> 13 | limb[2] << 38);
    store64(bytes + 16, limb[2] >> 26 | limb[3] << 25);
    store64(bytes + 24, limb[3] >> 39 | limb[4] << 12);
    wipe(limb, sizeof limb);
}

/* Everything of one multiplication that depends on its secret, so that it can be wiped at once. Names are the RFC's. */
struct ladder {
    element x2, z2, x3, z3, a, aa, b, bb, e, c, d, da, cb;
    u8 scalar[X25519_SIZE];
};

/* Section 5: the body of the loop. */
static void step(struct ladder *l, const element *x1) {
    static const element a24 = {{121665}};
    add(&l->a, &l->x2, &l->z2);
    multiply(&l->aa, &l->a, &l->a);
    subtract(&l->b, &l->x2, &l->z2);
    multiply(&l->bb, &l->b, &l->b);
    subtract(&l->e, &l->aa, &l->bb);
    add(&l->c, &l->x3, &l->z3);
    subtract(&l->d, &l->x3, &l->z3);
    multiply(&l->da, &l->d, &l->a);
    multiply(&l->cb, &l->c, &l->b);
    add(&l->x3, &l->da, &l->cb);
    multiply(&l->x3, &l->x3, &l->x3);
    subtract(&l->z3, &l->da, &l->cb);
    multiply(&l->z3, &l->z3, &l->z3);
    multiply(&l->z3, x1, &l->z3);
    multiply(&l->x2, &l->aa, &l->bb);
    multiply(&l->z2, &a24, &l->e);
    add(&l->z2, &l->aa, &l->z2);
    multiply(&l->z2, &l->e, &l->z2);
}

static void multiply_point(u8 result[X25519_SIZE], const u8 private_key[X25519_SIZE], const u8 point[X25519_SIZE]) {
    struct ladder l = {.x2 = {{1}}, .z3 = {{1}}};
    element x1;
    load(&x1, point);
    l.x3 = x1;
    __builtin_memcpy(l.scalar, private_key, sizeof l.scalar);
    l.scalar[0] &= 248;
    l.scalar[31] = (u8)((l.scalar[31] & 127) | 64);
    u64 swapped = 0;
    for (int t = 254; t >= 0; t--) {
        const u64 bit = (l.scalar[t / 8] >> (t % 8)) & 1;
        exchange(&l.x2, &l.x3, swapped ^ bit);
        exchange(&l.z2, &l.z3, swapped ^ bit);
        swapped = bit;
        step(&l, &x1);
    }
    exchange(&l.x2, &l.x3, swapped);
    exchange(&l.z2, &l.z3, swapped);
    invert(&l.z2, &l.z2);
    multiply(&l.x2, &l.x2, &l.z2);
    store(result, &l.x2);
    wipe(&l, sizeof l);
    wipe_stack(STACK_USED);
}

void x25519_public(u8 public_key[X25519_SIZE], const u8 private_key[X25519_SIZE]) {
    static const u8 base[X25519_SIZE] = {9};
    multiply_point(public_key, private_key, base);
}

bool x25519(u8 shared[X25519_SIZE], const u8 private_key[X25519_SIZE], const u8 public_key[X25519_SIZE]) {
    static const u8 zeros[X25519_SIZE];
    multiply_point(shared, private_key, public_key);
    return !same_secret(shared, zeros, X25519_SIZE);
}
