#include "nonce.h"

#include "bytes.h"
#include "hmac.h"

enum { PARTS = 5 };

struct part {
    const u8 *bytes;
    size_t size;
};

/* K, or V, becomes HMAC_K of these. */
static void mac(struct nonce *nonce, u8 *to, const struct part part[PARTS]) {
    if (nonce->size == SHA256_SIZE) {
        struct hmac hmac;
        hmac_start(&hmac, nonce->key, nonce->size);
        for (int i = 0; i < PARTS; i++) hmac_add(&hmac, part[i].bytes, part[i].size);
        hmac_finish(&hmac, to);
    } else {
        struct hmac384 hmac;
        hmac384_start(&hmac, nonce->key, nonce->size);
        for (int i = 0; i < PARTS; i++) hmac384_add(&hmac, part[i].bytes, part[i].size);
        hmac384_finish(&hmac, to);
    }
}

void nonce_next(struct nonce *nonce) {
    const struct part part[PARTS] = {{nonce->value, nonce->size}};
    mac(nonce, nonce->value, part);
}

/* Steps d to g: twice, once with a 0 and once with a 1 between V and what is to be hashed. */
static void update(struct nonce *nonce, u8 between, const struct part *private_key, const struct part *reduced, const struct part *random) {
    const struct part part[PARTS] = {{nonce->value, nonce->size}, {&between, 1}, *private_key, *reduced, *random};
    mac(nonce, nonce->key, part);
    nonce_next(nonce);
}

void nonce_start(struct nonce *nonce, size_t size, const u8 *private_key, const u8 *reduced, const u8 *random, size_t random_size) {
    const struct part key = {private_key, size}, digest = {reduced, size}, more = {random, random_size};
    memset(nonce->value, 1, sizeof nonce->value);
    memset(nonce->key, 0, sizeof nonce->key);
    nonce->size = size;
    update(nonce, 0, &key, &digest, &more);
    update(nonce, 1, &key, &digest, &more);
}

void nonce_reject(struct nonce *nonce) {
    const struct part none = {NULL, 0};
    update(nonce, 0, &none, &none, &none);
}
