/* The runtime's ChaCha20-Poly1305 with its Poly1305 in reach: keys with which that has to carry far do not come out of
 * ChaCha20. */
#include "aead.c"

void poly1305(u8 *tag, const u8 *key, const u8 *blocks, size_t count);

void poly1305(u8 *tag, const u8 *key, const u8 *blocks, size_t count) {
    struct aead aead;
    start_sum(&aead, key);
    absorb(&aead, blocks, count);
    finish_sum(&aead, tag);
}
