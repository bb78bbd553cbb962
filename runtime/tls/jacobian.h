/* Points in Jacobian coordinates, x / z^2 and y / z^3, in which doubling is cheaper; z = 0 for the point at infinity. */
#ifndef CLOISTER_TLS_JACOBIAN_H
#define CLOISTER_TLS_JACOBIAN_H

#include "curve.h"

struct jacobian {
    element x, y, z;
};

/* What one step has in between. */
struct jacobian_step {
    element a, b, c, d, e, t;
};

void jacobian_double(const struct curve *curve, struct jacobian *point, struct jacobian_step *k);
void jacobian_from(const struct curve *curve, struct jacobian *to, const struct point *from);
void jacobian_to(const struct curve *curve, struct point *to, const struct jacobian *from);

#endif
