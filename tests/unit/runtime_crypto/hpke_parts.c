/* The runtime's HPKE with its inner steps in reach: RFC 9180's vectors have an info, with which hpke_open has nothing to do. */
#include "hpke.c"

bool hpke_decapsulate(u8 *shared, const u8 *private_key, const u8 *encapsulated);
void hpke_schedule(u8 *key, u8 *nonce, const u8 *shared, const void *info, size_t size);

bool hpke_decapsulate(u8 *shared, const u8 *private_key, const u8 *encapsulated) {
    return decapsulate(shared, private_key, encapsulated, NULL);
}

/* The same with a sender, and without an info. */
bool hpke_decapsulate_from(u8 *shared, const u8 *private_key, const u8 *encapsulated, const u8 *sender);
void hpke_schedule_from(u8 *key, u8 *nonce, const u8 *shared);

bool hpke_decapsulate_from(u8 *shared, const u8 *private_key, const u8 *encapsulated, const u8 *sender) {
    return decapsulate(shared, private_key, encapsulated, sender);
}

void hpke_schedule_from(u8 *key, u8 *nonce, const u8 *shared) { schedule(key, nonce, MODE_AUTH, shared, NULL, 0); }

void hpke_schedule(u8 *key, u8 *nonce, const u8 *shared, const void *info, size_t size) {
    schedule(key, nonce, MODE_BASE, shared, info, size);
}
