/* Points of edwards25519 (RFC 8032, section 5.1), in constant time but for loading. */
#ifndef CLOISTER_TLS_EDWARDS_H
#define CLOISTER_TLS_EDWARDS_H

#include "coordinate.h"

/* Extended coordinates (section 5.1.4): x / z, y / z, and t = x y / z. All reduced. */
struct edwards {
    coordinate x, y, z, t;
};

extern const struct edwards edwards_base;

void edwards_add(struct edwards *sum, const struct edwards *a, const struct edwards *b);
void edwards_negate(struct edwards *negative, const struct edwards *a);
/* The scalar is little-endian. */
void edwards_multiply(struct edwards *product, const u8 scalar[COORDINATE_SIZE], const struct edwards *point);
void edwards_store(u8 bytes[COORDINATE_SIZE], const struct edwards *point);
/* False if it is no point, or not in its one encoding. Of public bytes: not in constant time. */
NODISCARD bool edwards_load(struct edwards *point, const u8 bytes[COORDINATE_SIZE]);

#endif
