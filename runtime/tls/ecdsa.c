#include "ecdsa.h"

#include "der.h"
#include "nonce.h"

/* What one signature has in between. */
struct signing {
    struct nonce nonce;
    struct point point;
    element digest, key, k, r, s;
    u8 bytes[1 + 2 * FIELD_BYTES], reduced[FIELD_BYTES];
};

/* The point's first coordinate modulo the order. False if it is 0. */
static bool take_r(const struct curve *curve, struct signing *s, const struct point *point) {
    const bool finite = point_store(curve, s->bytes, point);
    field_reduce(&curve->order, &s->r, s->bytes + 1);
    NO_SECRET(&s->r, sizeof s->r); /* it is half of the signature; nor is it one that it is not the point at infinity's */
    NO_SECRET(&finite, sizeof finite);
    return finite && !field_zero_mask(&curve->order, &s->r);
}

/* s = (digest + r * key) / k. False if the nonce cannot be used. */
static bool sign_with(const struct curve *curve, struct signing *s) {
    const struct field *n = &curve->order;
    const bool is_nonce = scalar_is_key(curve, s->nonce.value);
    NO_SECRET(&is_nonce, sizeof is_nonce); /* the others are not used */
    if (!is_nonce) return false;
    point_multiply_generator(curve, &s->point, s->nonce.value);
    if (!take_r(curve, s, &s->point)) return false;
    field_reduce(n, &s->k, s->nonce.value);
    field_invert(n, &s->k, &s->k);
    field_multiply(n, &s->s, &s->r, &s->key);
    field_add(n, &s->s, &s->s, &s->digest);
    field_multiply(n, &s->s, &s->s, &s->k);
    NO_SECRET(&s->s, sizeof s->s); /* the other half */
    return !field_zero_mask(n, &s->s);
}

static size_t write_signature(const struct curve *curve, const struct signing *s, u8 signature[ECDSA_MAX]) {
    u8 number[FIELD_BYTES];
    struct der_writer writer = der_write_to(signature, ECDSA_MAX);
    const u8 *end = writer.at;
    field_store(&curve->order, number, &s->s);
    der_put_number(&writer, number, curve_size(curve));
    field_store(&curve->order, number, &s->r);
    der_put_number(&writer, number, curve_size(curve));
    der_wrap(&writer, DER_SEQUENCE, end);
    const size_t size = (size_t)(end - writer.at);
    for (size_t i = 0; i < size; i++) signature[i] = writer.at[i];
    return size;
}

size_t ecdsa_sign(const struct curve *curve, const u8 *private_key, const u8 *digest, const u8 *random, size_t random_size,
                  u8 signature[ECDSA_MAX]) {
    struct signing s;
    field_reduce(&curve->order, &s.digest, digest);
    field_reduce(&curve->order, &s.key, private_key);
    field_store(&curve->order, s.reduced, &s.digest);
    nonce_start(&s.nonce, curve_size(curve), private_key, s.reduced, random, random_size);
    for (nonce_next(&s.nonce); !sign_with(curve, &s); nonce_next(&s.nonce)) nonce_reject(&s.nonce);
    const size_t size = write_signature(curve, &s, signature);
    wipe(&s, sizeof s);
    return size;
}

/* A number from 1 to the order - 1, of DER. */
static bool take_scalar(const struct curve *curve, struct der *der, element *a) {
    struct der bytes;
    u8 whole[FIELD_BYTES] = {0};
    const size_t size = curve_size(curve);
    if (!der_take_number(der, &bytes) || der_size(&bytes) > size) return false;
    memcpy(whole + size - der_size(&bytes), bytes.at, der_size(&bytes));
    return field_load(&curve->order, a, whole) && !field_zero_mask(&curve->order, a);
}

/* The first coordinate of (digest / s) * generator + (r / s) * key must be r again. */
static bool is_signature(const struct curve *curve, const struct point *key, const u8 *digest, const element *r, const element *s) {
    const struct field *n = &curve->order;
    struct signing found;
    struct point other;
    element by_s, factor, difference;
    field_invert(n, &by_s, s);
    field_reduce(n, &factor, digest);
    field_multiply(n, &factor, &factor, &by_s);
    field_store(n, found.reduced, &factor);
    point_multiply_generator(curve, &found.point, found.reduced);
    field_multiply(n, &factor, r, &by_s);
    field_store(n, found.reduced, &factor);
    point_multiply(curve, &other, found.reduced, key);
    point_add(curve, &found.point, &found.point, &other);
    if (!take_r(curve, &found, &found.point)) return false;
    field_subtract(n, &difference, &found.r, r);
    return field_zero_mask(n, &difference) != 0;
}

bool ecdsa_verify(const struct curve *curve, const u8 *public_key, const u8 *digest, const u8 *signature, size_t size) {
    struct der outside = der_of(signature, size), der;
    struct point key;
    element r, s;
    if (!der_take(&outside, DER_SEQUENCE, &der) || !der_at_end(&outside)) return false;
    if (!take_scalar(curve, &der, &r) || !take_scalar(curve, &der, &s) || !der_at_end(&der)) return false;
    return point_load(curve, &key, public_key) && is_signature(curve, &key, digest, &r, &s);
}
