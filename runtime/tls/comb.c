/* Multiples of P-256's generator. A scalar is four words of 64 bits; a column, their bits of one place, is a number of four bits that
 * chooses a point of the first table; the upper half of the columns chooses of the second one. So 32 doublings are enough. */
#include "jacobian.h"
#include "montgomery.h"

enum { TEETH = 4, COLUMNS = 32 };

/* Everything of one multiplication that depends on its secret. */
struct combing {
    struct jacobian sum, added;
    struct jacobian_step k;
    element x, y;
    u64 word[TEETH];
};

/* All of the table is read: which cache lines are touched says nothing. All ones if something was chosen. */
static u64 choose(struct combing *c, const u64 table[COMB_POINTS][2][4], u64 index) {
    c->x = c->y = (element){{0}};
    for (u64 i = 1; i <= COMB_POINTS; i++) {
        const u64 other = i ^ index, mask = (opaque(other | (0 - other)) >> 63) - 1;
        montgomery_choose(c->x.limb, table[i - 1][0], c->x.limb, mask, 4);
        montgomery_choose(c->y.limb, table[i - 1][1], c->y.limb, mask, 4);
    }
    return 0 - (opaque(index | (0 - index)) >> 63);
}

static void choose_point(struct jacobian *to, const element *x, const element *y, const element *z, u64 mask) {
    montgomery_choose(to->x.limb, x->limb, to->x.limb, mask, 4);
    montgomery_choose(to->y.limb, y->limb, to->y.limb, mask, 4);
    montgomery_choose(to->z.limb, z->limb, to->z.limb, mask, 4);
}

/* sum + (x, y), where both are finite and neither each other nor opposites: a = x z^2 - sum.x, b = y z^3 - sum.y, c = a^2, d = a^3,
 * e = sum.x c;  x' = b^2 - d - 2 e,  y' = b (e - x') - sum.y d,  z' = z a. */
static void add_finite(struct combing *c) {
    const struct field *f = &curve_p256.field;
    struct jacobian_step *k = &c->k;
    field_multiply(f, &k->t, &c->sum.z, &c->sum.z);
    field_multiply(f, &k->a, &c->x, &k->t);
    field_subtract(f, &k->a, &k->a, &c->sum.x);
    field_multiply(f, &k->t, &k->t, &c->sum.z);
    field_multiply(f, &k->b, &c->y, &k->t);
    field_subtract(f, &k->b, &k->b, &c->sum.y);
    field_multiply(f, &k->c, &k->a, &k->a);
    field_multiply(f, &k->d, &k->a, &k->c);
    field_multiply(f, &k->e, &c->sum.x, &k->c);
    field_multiply(f, &c->added.z, &c->sum.z, &k->a);
    field_multiply(f, &c->added.x, &k->b, &k->b);
    field_subtract(f, &c->added.x, &c->added.x, &k->d);
    field_add(f, &k->t, &k->e, &k->e);
    field_subtract(f, &c->added.x, &c->added.x, &k->t);
    field_subtract(f, &k->e, &k->e, &c->added.x);
    field_multiply(f, &k->e, &k->e, &k->b);
    field_multiply(f, &k->d, &k->d, &c->sum.y);
    field_subtract(f, &c->added.y, &k->e, &k->d);
}

/* Adds what the column chooses. In each word the sum so far has bits where the chosen point has none: at places 1 to 31 and 33 to 63 when
 * place 32 is added, then there too when place 0 is. So they are not the same; they are opposites only if the scalar is the order. */
static void add_column(struct combing *c, int table, int column) {
    u64 digit = 0;
    for (int i = 0; i < TEETH; i++) digit |= (c->word[i] >> column & 1) << i;
    const u64 chosen = choose(c, curve_p256_comb[table], digit), empty = field_zero_mask(&curve_p256.field, &c->sum.z);
    add_finite(c);
    choose_point(&c->added, &c->x, &c->y, &curve_p256.field.one, empty);
    choose_point(&c->sum, &c->added.x, &c->added.y, &c->added.z, chosen);
}

void point_multiply_by_comb(struct point *product, const u8 scalar[32]) {
    struct combing c = {.sum = {.y = curve_p256.field.one}};
    for (int i = 0; i < TEETH; i++) c.word[i] = __builtin_bswap64(load64(scalar + 24 - 8 * i));
    for (int column = COLUMNS - 1; column >= 0; column--) {
        jacobian_double(&curve_p256, &c.sum, &c.k);
        add_column(&c, 1, column + COLUMNS);
        add_column(&c, 0, column);
    }
    jacobian_to(&curve_p256, product, &c.sum);
    wipe(&c, sizeof c);
}
