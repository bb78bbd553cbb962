#include "edwards.h"

enum { WINDOW = 16, BITS = 4 };

static const coordinate zero = {{0}}, one = {{1}};
/* Section 5.1: d = -121665 / 121666; a root of -1 is 2^((p - 1) / 4). */
static const coordinate d = {{0x34dca135978a3, 0x1a8283b156ebd, 0x5e7a26001c029, 0x739c663a03cbb, 0x52036cee2b6ff}};
static const coordinate twice_d = {{0x69b9426b2f159, 0x35050762add7a, 0x3cf44c0038052, 0x6738cc7407977, 0x2406d9dc56dff}};
static const coordinate root_of_minus_one = {{0x61b274a0ea0b0, 0x0d5a5fc8f189d, 0x7ef5e9cbd0c60, 0x78595a6804c9e, 0x2b8324804fc1d}};
const struct edwards edwards_base = {
    .x = {{0x62d608f25d51a, 0x412a4b4f6592a, 0x75b7171a4b31d, 0x1ff60527118fe, 0x216936d3cd6e5}},
    .y = {{0x6666666666658, 0x4cccccccccccc, 0x1999999999999, 0x3333333333333, 0x6666666666666}},
    .z = {{1}},
    .t = {{0x68ab3a5b7dda3, 0x00eea2a5eadbb, 0x2af8df483c27e, 0x332b375274732, 0x67875f0fd78b7}},
};

/* What one addition has in between. */
struct addition {
    coordinate a, b, c, d, e, f, g, h, t;
};

/* Section 5.1.4. The formulas are complete: no case is special, not even a + a. Coordinates that are kept are products, and so
 * reduced; sums and differences go into products only. */
static void add_in(struct edwards *sum, const struct edwards *p, const struct edwards *q, struct addition *k) {
    coordinate_subtract(&k->a, &p->y, &p->x);
    coordinate_subtract(&k->t, &q->y, &q->x);
    coordinate_multiply(&k->a, &k->a, &k->t);
    coordinate_add(&k->b, &p->y, &p->x);
    coordinate_add(&k->t, &q->y, &q->x);
    coordinate_multiply(&k->b, &k->b, &k->t);
    coordinate_multiply(&k->c, &p->t, &q->t);
    coordinate_multiply(&k->c, &k->c, &twice_d);
    coordinate_add(&k->t, &q->z, &q->z);
    coordinate_multiply(&k->d, &p->z, &k->t);
    coordinate_subtract(&k->e, &k->b, &k->a);
    coordinate_subtract(&k->f, &k->d, &k->c);
    coordinate_add(&k->g, &k->d, &k->c);
    coordinate_add(&k->h, &k->b, &k->a);
    coordinate_multiply(&sum->x, &k->e, &k->f);
    coordinate_multiply(&sum->y, &k->g, &k->h);
    coordinate_multiply(&sum->z, &k->f, &k->g);
    coordinate_multiply(&sum->t, &k->e, &k->h);
}

void edwards_add(struct edwards *sum, const struct edwards *a, const struct edwards *b) {
    struct addition k;
    add_in(sum, a, b, &k);
    wipe(&k, sizeof k);
}

static void negate(coordinate *x) {
    coordinate difference;
    coordinate_subtract(&difference, &zero, x);
    coordinate_multiply(x, &difference, &one);
}

void edwards_negate(struct edwards *negative, const struct edwards *a) {
    *negative = *a;
    negate(&negative->x);
    negate(&negative->t);
}

/* Everything of one multiplication that depends on its secret. */
struct multiplication {
    struct edwards table[WINDOW], sum, chosen;
    struct addition k;
};

static void choose_coordinate(coordinate *chosen, const coordinate *other, u64 mask) {
    for (int i = 0; i < 5; i++) chosen->limb[i] ^= (chosen->limb[i] ^ other->limb[i]) & mask;
}

/* All of the table is read: which cache lines are touched says nothing. */
static void choose(struct edwards *chosen, const struct edwards table[WINDOW], u64 index) {
    *chosen = table[0];
    for (u64 i = 1; i < WINDOW; i++) {
        const u64 other = i ^ index, mask = opaque((opaque(other | (0 - other)) >> 63) - 1);
        choose_coordinate(&chosen->x, &table[i].x, mask);
        choose_coordinate(&chosen->y, &table[i].y, mask);
        choose_coordinate(&chosen->z, &table[i].z, mask);
        choose_coordinate(&chosen->t, &table[i].t, mask);
    }
}

void edwards_multiply(struct edwards *product, const u8 scalar[COORDINATE_SIZE], const struct edwards *point) {
    const struct edwards neutral = {zero, one, one, zero};
    struct multiplication m = {.sum = neutral};
    m.table[0] = neutral;
    for (int i = 1; i < WINDOW; i++) add_in(&m.table[i], &m.table[i - 1], point, &m.k);
    for (int i = 2 * COORDINATE_SIZE - 1; i >= 0; i--) {
        const u64 digit = scalar[i / 2] >> (i % 2 ? BITS : 0) & 15;
        for (int bit = 0; bit < BITS; bit++) add_in(&m.sum, &m.sum, &m.sum, &m.k);
        choose(&m.chosen, m.table, digit);
        add_in(&m.sum, &m.sum, &m.chosen, &m.k);
    }
    *product = m.sum;
    wipe(&m, sizeof m);
}

/* Section 5.1.2: y, and the lowest bit of x above it. */
void edwards_store(u8 bytes[COORDINATE_SIZE], const struct edwards *point) {
    coordinate inverse, x, y;
    u8 x_bytes[COORDINATE_SIZE];
    coordinate_invert(&inverse, &point->z);
    coordinate_multiply(&x, &point->x, &inverse);
    coordinate_multiply(&y, &point->y, &inverse);
    coordinate_store(x_bytes, &x);
    coordinate_store(bytes, &y);
    bytes[COORDINATE_SIZE - 1] |= (u8)(x_bytes[0] << 7);
    wipe(&inverse, sizeof inverse);
    wipe(&x, sizeof x);
    wipe(&y, sizeof y);
    wipe(x_bytes, sizeof x_bytes);
}

static bool same(const coordinate *a, const coordinate *b) {
    u8 a_bytes[COORDINATE_SIZE], b_bytes[COORDINATE_SIZE];
    coordinate_store(a_bytes, a);
    coordinate_store(b_bytes, b);
    return same_secret(a_bytes, b_bytes, COORDINATE_SIZE);
}

/* x = (u / v)^((p + 3) / 8) = u v^3 (u v^7)^((p - 5) / 8), or that times a root of -1. False if u / v has no root. */
static bool divide_and_root(coordinate *x, const coordinate *u, const coordinate *v) {
    coordinate v3, power, square, negative = *u;
    coordinate_square(&v3, v);
    coordinate_multiply(&v3, &v3, v);
    coordinate_square(&power, &v3);
    coordinate_multiply(&power, &power, v);
    coordinate_multiply(&power, &power, u);
    coordinate_power(&power, &power, 2, 1);
    coordinate_multiply(&v3, &v3, u);
    coordinate_multiply(x, &v3, &power);
    coordinate_square(&square, x);
    coordinate_multiply(&square, &square, v);
    negate(&negative);
    if (same(&square, &negative)) coordinate_multiply(x, x, &root_of_minus_one);
    else if (!same(&square, u)) return false;
    return true;
}

/* Section 5.1.3. */
bool edwards_load(struct edwards *point, const u8 bytes[COORDINATE_SIZE]) {
    coordinate square, u, v, difference;
    u8 again[COORDINATE_SIZE];
    const u32 sign = bytes[COORDINATE_SIZE - 1] >> 7;
    coordinate_load(&point->y, bytes);
    coordinate_store(again, &point->y);
    again[COORDINATE_SIZE - 1] |= (u8)(sign << 7);
    if (memcmp(again, bytes, COORDINATE_SIZE) != 0) return false; /* y is p or more */
    coordinate_square(&square, &point->y);
    coordinate_subtract(&difference, &square, &one);
    coordinate_multiply(&u, &difference, &one);
    coordinate_multiply(&v, &square, &d);
    coordinate_add(&difference, &v, &one);
    coordinate_multiply(&v, &difference, &one);
    if (!divide_and_root(&point->x, &u, &v)) return false;
    coordinate_store(again, &point->x);
    if (sign && same(&point->x, &zero)) return false;
    if ((again[0] & 1) != sign) negate(&point->x);
    point->z = one;
    coordinate_multiply(&point->t, &point->x, &point->y);
    return true;
}
