/* The runtime's HPKE with its inner steps in reach: RFC 9180's vectors have an info, with which hpke_open has nothing to do. */
#include "hpke.c"

bool hpke_decapsulate(u8 *shared, const u8 *private_key, const u8 *encapsulated);
void hpke_schedule(u8 *key, u8 *nonce, const u8 *shared, const void *info, size_t size);

bool hpke_decapsulate(u8 *shared, const u8 *private_key, const u8 *encapsulated) {
    return decapsulate(shared, private_key, encapsulated);
}

void hpke_schedule(u8 *key, u8 *nonce, const u8 *shared, const void *info, size_t size) {
    schedule(key, nonce, shared, info, size);
}
