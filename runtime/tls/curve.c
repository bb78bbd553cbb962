#include "curve.h"

#include "montgomery.h"

enum { WINDOW = 16, BITS = 4 };

/* What one addition has in between, so that it can be wiped at once. */
struct addition {
    element xx, yy, zz, xy, yz, xz, s, v, w, low, high, t;
};

/* a * b + c * d for `cross` a = x of one, b = y of the other and so on: (a1 + b1)(a2 + b2) without a1 a2 and b1 b2. */
static void cross(const struct field *f, element *to, const element *a1, const element *b1, const element *a2, const element *b2,
                  const element *aa, const element *bb, element *t) {
    field_add(f, t, a1, b1);
    field_add(f, to, a2, b2);
    field_multiply(f, to, to, t);
    field_subtract(f, to, to, aa);
    field_subtract(f, to, to, bb);
}

static void triple(const struct field *f, element *x, element *t) {
    field_add(f, t, x, x);
    field_add(f, x, x, t);
}

/* Renes, Costello, Batina, "Complete addition formulas for prime order elliptic curves", with a = -3: no case is special, not even
 * a + a or the point at infinity. With 3 (xz - b zz) = s, 3 (xx - zz) = v and 3 (b xz - 3 zz - xx) = w:
 *
 *   x = xy (yy + s) - yz w        y = (yy + s)(yy - s) + v w        z = yz (yy - s) + xy v
 */
static void add_in(const struct curve *curve, struct point *sum, const struct point *a, const struct point *b, struct addition *k) {
    const struct field *f = &curve->field;
    field_multiply(f, &k->xx, &a->x, &b->x);
    field_multiply(f, &k->yy, &a->y, &b->y);
    field_multiply(f, &k->zz, &a->z, &b->z);
    cross(f, &k->xy, &a->x, &a->y, &b->x, &b->y, &k->xx, &k->yy, &k->t);
    cross(f, &k->yz, &a->y, &a->z, &b->y, &b->z, &k->yy, &k->zz, &k->t);
    cross(f, &k->xz, &a->x, &a->z, &b->x, &b->z, &k->xx, &k->zz, &k->t);
    field_multiply(f, &k->t, &curve->b, &k->zz);
    field_subtract(f, &k->s, &k->xz, &k->t);
    triple(f, &k->s, &k->t);
    field_subtract(f, &k->low, &k->yy, &k->s);
    field_add(f, &k->high, &k->yy, &k->s);
    field_multiply(f, &k->w, &curve->b, &k->xz);
    field_subtract(f, &k->w, &k->w, &k->xx);
    triple(f, &k->zz, &k->t);
    field_subtract(f, &k->w, &k->w, &k->zz);
    triple(f, &k->w, &k->t);
    triple(f, &k->xx, &k->t);
    field_subtract(f, &k->v, &k->xx, &k->zz);
    field_multiply(f, &k->xx, &k->xy, &k->high);
    field_multiply(f, &k->yy, &k->yz, &k->w);
    field_subtract(f, &sum->x, &k->xx, &k->yy);
    field_multiply(f, &k->xx, &k->high, &k->low);
    field_multiply(f, &k->yy, &k->v, &k->w);
    field_add(f, &sum->y, &k->xx, &k->yy);
    field_multiply(f, &k->xx, &k->yz, &k->low);
    field_multiply(f, &k->yy, &k->xy, &k->v);
    field_add(f, &sum->z, &k->xx, &k->yy);
}

void point_add(const struct curve *curve, struct point *sum, const struct point *a, const struct point *b) {
    struct addition k;
    add_in(curve, sum, a, b, &k);
    wipe(&k, sizeof k);
}

bool point_load(const struct curve *curve, struct point *point, const u8 *bytes) {
    const struct field *f = &curve->field;
    const size_t size = curve_size(curve);
    element left, right;
    if (bytes[0] != 4 || !field_load(f, &point->x, bytes + 1) || !field_load(f, &point->y, bytes + 1 + size)) return false;
    point->z = f->one;
    field_multiply(f, &left, &point->y, &point->y);
    field_subtract(f, &left, &left, &curve->b);
    field_multiply(f, &right, &point->x, &point->x);
    for (int i = 0; i < 3; i++) field_subtract(f, &right, &right, &f->one);
    field_multiply(f, &right, &right, &point->x);
    field_subtract(f, &left, &left, &right);
    return field_zero_mask(f, &left) != 0;
}

bool point_store(const struct curve *curve, u8 *bytes, const struct point *point) {
    const struct field *f = &curve->field;
    const size_t size = curve_size(curve);
    element inverse, coordinate;
    field_invert(f, &inverse, &point->z);
    field_multiply(f, &coordinate, &point->x, &inverse);
    field_store(f, bytes + 1, &coordinate);
    field_multiply(f, &coordinate, &point->y, &inverse);
    field_store(f, bytes + 1 + size, &coordinate);
    bytes[0] = 4;
    const bool finite = !field_zero_mask(f, &inverse);
    wipe(&inverse, sizeof inverse);
    wipe(&coordinate, sizeof coordinate);
    return finite;
}

/* Everything of one multiplication that depends on its secret. */
struct multiplication {
    struct point table[WINDOW], sum, chosen;
    struct addition k;
};

/* All of the table is read: which cache lines are touched says nothing. */
static void choose(const struct field *f, struct point *chosen, const struct point table[WINDOW], u64 index) {
    *chosen = table[0];
    for (u64 i = 1; i < WINDOW; i++) {
        const u64 other = i ^ index, mask = (opaque(other | (0 - other)) >> 63) - 1;
        montgomery_choose(chosen->x.limb, table[i].x.limb, chosen->x.limb, mask, f->limbs);
        montgomery_choose(chosen->y.limb, table[i].y.limb, chosen->y.limb, mask, f->limbs);
        montgomery_choose(chosen->z.limb, table[i].z.limb, chosen->z.limb, mask, f->limbs);
    }
}

static void start_at_infinity(const struct curve *curve, struct point *point) {
    *point = (struct point){.y = curve->field.one};
}

void point_multiply(const struct curve *curve, struct point *product, const u8 *scalar, const struct point *point) {
    struct multiplication m;
    start_at_infinity(curve, &m.table[0]);
    start_at_infinity(curve, &m.sum);
    for (int i = 1; i < WINDOW; i++) add_in(curve, &m.table[i], &m.table[i - 1], point, &m.k);
    for (size_t i = 0; i < 2 * curve_size(curve); i++) {
        const u64 digit = scalar[i / 2] >> (i % 2 ? 0 : BITS) & 15;
        point_double(curve, &m.sum, BITS);
        choose(&curve->field, &m.chosen, m.table, digit);
        add_in(curve, &m.sum, &m.sum, &m.chosen, &m.k);
    }
    *product = m.sum;
    wipe(&m, sizeof m);
}

void point_multiply_generator(const struct curve *curve, struct point *product, const u8 *scalar) {
    const struct point generator = {curve->x, curve->y, curve->field.one};
    if (curve->field.limbs == 4) point_multiply_by_comb(product, scalar);
    else point_multiply(curve, product, scalar, &generator);
}

bool scalar_is_key(const struct curve *curve, const u8 *scalar) {
    element a;
    const bool below = field_load(&curve->order, &a, scalar), zero = field_zero_mask(&curve->order, &a) != 0;
    wipe(&a, sizeof a);
    return below && !zero;
}
