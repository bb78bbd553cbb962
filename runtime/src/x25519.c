/* RFC 7748, section 5. */
#include "x25519.h"

#include "coordinate.h"

enum { STACK_USED = 2048 };

/* Everything of one multiplication that depends on its secret, so that it can be wiped at once. Names are the RFC's. */
struct ladder {
    coordinate x2, z2, x3, z3, a, aa, b, bb, e, c, d, da, cb;
    u8 scalar[X25519_SIZE];
};

/* Section 5: the body of the loop. */
static void step(struct ladder *l, const coordinate *x1) {
    static const coordinate a24 = {{121665}};
    coordinate_add(&l->a, &l->x2, &l->z2);
    coordinate_square(&l->aa, &l->a);
    coordinate_subtract(&l->b, &l->x2, &l->z2);
    coordinate_square(&l->bb, &l->b);
    coordinate_subtract(&l->e, &l->aa, &l->bb);
    coordinate_add(&l->c, &l->x3, &l->z3);
    coordinate_subtract(&l->d, &l->x3, &l->z3);
    coordinate_multiply(&l->da, &l->d, &l->a);
    coordinate_multiply(&l->cb, &l->c, &l->b);
    coordinate_add(&l->x3, &l->da, &l->cb);
    coordinate_square(&l->x3, &l->x3);
    coordinate_subtract(&l->z3, &l->da, &l->cb);
    coordinate_square(&l->z3, &l->z3);
    coordinate_multiply(&l->z3, x1, &l->z3);
    coordinate_multiply(&l->x2, &l->aa, &l->bb);
    coordinate_multiply(&l->z2, &a24, &l->e);
    coordinate_add(&l->z2, &l->aa, &l->z2);
    coordinate_multiply(&l->z2, &l->e, &l->z2);
}

/* Not inlined: what it leaves on the stack is wiped by who calls it. */
static __attribute__((noinline)) void multiply_point(u8 result[X25519_SIZE], const u8 private_key[X25519_SIZE], const u8 point[X25519_SIZE]) {
    struct ladder l = {.x2 = {{1}}, .z3 = {{1}}};
    coordinate x1;
    coordinate_load(&x1, point);
    l.x3 = x1;
    __builtin_memcpy(l.scalar, private_key, sizeof l.scalar);
    l.scalar[0] &= 248;
    l.scalar[31] = (u8)((l.scalar[31] & 127) | 64);
    u64 swapped = 0;
    for (int t = 254; t >= 0; t--) {
        const u64 bit = (l.scalar[t / 8] >> (t % 8)) & 1;
        coordinate_exchange(&l.x2, &l.x3, swapped ^ bit);
        coordinate_exchange(&l.z2, &l.z3, swapped ^ bit);
        swapped = bit;
        step(&l, &x1);
    }
    coordinate_exchange(&l.x2, &l.x3, swapped);
    coordinate_exchange(&l.z2, &l.z3, swapped);
    coordinate_invert(&l.z2, &l.z2);
    coordinate_multiply(&l.x2, &l.x2, &l.z2);
    coordinate_store(result, &l.x2);
    wipe(&l, sizeof l);
}

void x25519_public(u8 public_key[X25519_SIZE], const u8 private_key[X25519_SIZE]) {
    static const u8 base[X25519_SIZE] = {9};
    multiply_point(public_key, private_key, base);
    wipe_stack(STACK_USED);
}

bool x25519(u8 shared[X25519_SIZE], const u8 private_key[X25519_SIZE], const u8 public_key[X25519_SIZE]) {
    static const u8 zeros[X25519_SIZE];
    multiply_point(shared, private_key, public_key);
    wipe_stack(STACK_USED);
    return !same_secret(shared, zeros, X25519_SIZE);
}
