#include "exchange.h"

#include "curve.h"

enum { STACK_USED = 6144 };

bool exchange_public(u8 point[EXCHANGE_POINT], const u8 private_key[EXCHANGE_SECRET]) {
    struct point product;
    const bool is_key = scalar_is_key(&curve_p256, private_key);
    NO_SECRET(&is_key, sizeof is_key);
    if (!is_key) return false;
    point_multiply_generator(&curve_p256, &product, private_key);
    const bool made = point_store(&curve_p256, point, &product);
    wipe(&product, sizeof product);
    wipe_stack(STACK_USED);
    return made;
}

bool exchange_shared(u8 shared[EXCHANGE_SECRET], const u8 private_key[EXCHANGE_SECRET], const u8 point[EXCHANGE_POINT]) {
    struct point theirs, product;
    u8 bytes[EXCHANGE_POINT];
    if (!point_load(&curve_p256, &theirs, point)) return false;
    point_multiply(&curve_p256, &product, private_key, &theirs);
    const bool finite = point_store(&curve_p256, bytes, &product);
    __builtin_memcpy(shared, bytes + 1, EXCHANGE_SECRET);
    wipe(&product, sizeof product);
    wipe(bytes, sizeof bytes);
    wipe_stack(STACK_USED);
    return finite;
}
