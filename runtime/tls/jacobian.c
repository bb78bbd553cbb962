#include "jacobian.h"

#include "montgomery.h"

/* With a = -3: b = y^2, a = 3 (x - z^2)(x + z^2), c = x y^2;  x' = a^2 - 8 c,  y' = a (4 c - x') - 8 b^2,  z' = 2 y z. */
void jacobian_double(const struct curve *curve, struct jacobian *point, struct jacobian_step *k) {
    const struct field *f = &curve->field;
    field_multiply(f, &k->d, &point->z, &point->z);
    field_multiply(f, &k->b, &point->y, &point->y);
    field_multiply(f, &k->c, &point->x, &k->b);
    field_subtract(f, &k->a, &point->x, &k->d);
    field_add(f, &k->t, &point->x, &k->d);
    field_multiply(f, &k->a, &k->a, &k->t);
    field_add(f, &k->t, &k->a, &k->a);
    field_add(f, &k->a, &k->a, &k->t);
    field_multiply(f, &point->z, &point->y, &point->z);
    field_add(f, &point->z, &point->z, &point->z);
    field_add(f, &k->c, &k->c, &k->c);
    field_add(f, &k->c, &k->c, &k->c);
    field_add(f, &k->t, &k->c, &k->c);
    field_multiply(f, &point->x, &k->a, &k->a);
    field_subtract(f, &point->x, &point->x, &k->t);
    field_subtract(f, &k->c, &k->c, &point->x);
    field_multiply(f, &k->c, &k->c, &k->a);
    field_add(f, &k->b, &k->b, &k->b);
    field_multiply(f, &k->b, &k->b, &k->b);
    field_add(f, &k->b, &k->b, &k->b);
    field_subtract(f, &point->y, &k->c, &k->b);
}

/* x / z = x z / z^2 and y / z = y z^2 / z^3. */
void jacobian_from(const struct curve *curve, struct jacobian *to, const struct point *from) {
    const struct field *f = &curve->field;
    field_multiply(f, &to->y, &from->z, &from->z);
    field_multiply(f, &to->y, &to->y, &from->y);
    field_multiply(f, &to->x, &from->x, &from->z);
    to->z = from->z;
}

/* x / z^2 = x z / z^3. The point at infinity must have a second coordinate there. */
void jacobian_to(const struct curve *curve, struct point *to, const struct jacobian *from) {
    const struct field *f = &curve->field;
    field_multiply(f, &to->x, &from->x, &from->z);
    field_multiply(f, &to->z, &from->z, &from->z);
    field_multiply(f, &to->z, &to->z, &from->z);
    montgomery_choose(to->y.limb, f->one.limb, from->y.limb, field_zero_mask(f, &from->z), f->limbs);
}

void point_double(const struct curve *curve, struct point *point, int times) {
    struct jacobian doubled;
    struct jacobian_step k;
    jacobian_from(curve, &doubled, point);
    for (int i = 0; i < times; i++) jacobian_double(curve, &doubled, &k);
    jacobian_to(curve, point, &doubled);
    wipe(&doubled, sizeof doubled);
    wipe(&k, sizeof k);
}
