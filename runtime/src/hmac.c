#include "hmac.h"

#include "bytes.h"

enum { HMAC_BLOCK = 64, HMAC384_BLOCK = 128, STACK_USED = 1024, STACK_USED_384 = 1536 };

static void start_padded(struct sha256 *hash, const u8 *key, size_t size, u8 padding) {
    u8 block[HMAC_BLOCK];
    for (size_t i = 0; i < HMAC_BLOCK; i++) block[i] = (u8)((i < size ? key[i] : 0) ^ padding);
    sha256_start(hash);
    sha256_add(hash, block, sizeof block);
    wipe(block, sizeof block);
}

void hmac_start(struct hmac *hmac, const u8 *key, size_t size) {
    start_padded(&hmac->inner, key, size, 0x36);
    start_padded(&hmac->outer, key, size, 0x5c);
}

void hmac_add(struct hmac *hmac, const void *bytes, size_t size) { sha256_add(&hmac->inner, bytes, size); }

void hmac_finish(struct hmac *hmac, u8 code[SHA256_SIZE]) {
    u8 inner[SHA256_SIZE];
    sha256_finish(&hmac->inner, inner);
    sha256_add(&hmac->outer, inner, sizeof inner);
    sha256_finish(&hmac->outer, code);
    wipe(inner, sizeof inner);
    wipe_stack(STACK_USED);
}

static void start_padded_384(struct sha512 *hash, const u8 *key, size_t size, u8 padding) {
    u8 block[HMAC384_BLOCK];
    for (size_t i = 0; i < HMAC384_BLOCK; i++) block[i] = (u8)((i < size ? key[i] : 0) ^ padding);
    sha384_start(hash);
    sha512_add(hash, block, sizeof block);
    wipe(block, sizeof block);
}

void hmac384_start(struct hmac384 *hmac, const u8 *key, size_t size) {
    start_padded_384(&hmac->inner, key, size, 0x36);
    start_padded_384(&hmac->outer, key, size, 0x5c);
}

void hmac384_add(struct hmac384 *hmac, const void *bytes, size_t size) { sha512_add(&hmac->inner, bytes, size); }

void hmac384_finish(struct hmac384 *hmac, u8 code[SHA384_SIZE]) {
    u8 inner[SHA384_SIZE];
    sha384_finish(&hmac->inner, inner);
    sha512_add(&hmac->outer, inner, sizeof inner);
    sha384_finish(&hmac->outer, code);
    wipe(inner, sizeof inner);
    wipe_stack(STACK_USED_384);
}
