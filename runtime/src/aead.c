/* RFC 8439. No branch and no index depends on the key, the text or the tag: only on their sizes. */
#include "aead.h"

#include "bytes.h"

enum { CHACHA_BLOCK = 64, POLY_BLOCK = 16, STACK_USED = 512 };

static inline u32 left(u32 x, int n) { return x << n | x >> (32 - n); }

/* Section 2.1. */
static inline __attribute__((always_inline)) void quarter_round(u32 *x, int a, int b, int c, int d) {
    x[a] += x[b], x[d] = left(x[d] ^ x[a], 16);
    x[c] += x[d], x[b] = left(x[b] ^ x[c], 12);
    x[a] += x[b], x[d] = left(x[d] ^ x[a], 8);
    x[c] += x[d], x[b] = left(x[b] ^ x[c], 7);
}

/* Section 2.3: the next block of the key stream. */
static void next_block(struct aead *aead) {
    u32 x[16];
    __builtin_memcpy(x, aead->cipher, sizeof x);
    for (int i = 0; i < 10; i++) {
        quarter_round(x, 0, 4, 8, 12);
        quarter_round(x, 1, 5, 9, 13);
        quarter_round(x, 2, 6, 10, 14);
        quarter_round(x, 3, 7, 11, 15);
        quarter_round(x, 0, 5, 10, 15);
        quarter_round(x, 1, 6, 11, 12);
        quarter_round(x, 2, 7, 8, 13);
        quarter_round(x, 3, 4, 9, 14);
    }
    for (int i = 0; i < 16; i++) store32(aead->stream + 4 * i, x[i] + aead->cipher[i]);
    aead->cipher[12]++;
    aead->used = 0;
}

/* Section 2.4. */
static void apply_stream(struct aead *aead, u8 *text, size_t size) {
    while (size) {
        if (aead->used == CHACHA_BLOCK) next_block(aead);
        size_t piece = min_u64(size, CHACHA_BLOCK - aead->used);
        const u8 *stream = aead->stream + aead->used;
        aead->used += (u32)piece;
        size -= piece;
        for (; piece >= 8; piece -= 8, text += 8, stream += 8) store64(text, load64(text) ^ load64(stream));
        for (; piece; piece--) *text++ ^= *stream++;
    }
}

/* Section 2.5: each block is a number of 129 bits; sum = (sum + block) * r modulo p = 2^130 - 5.
 *
 * The sum is kept in words of 64 bits, below 2^131. Section 2.5.1 clears bits of r so that both its words are below 2^60, and
 * the upper one is a multiple of 4: 2^128 * r1 = 2^130 * (r1 / 4), which is 5 * (r1 / 4) = r1 + r1 / 4 modulo p. So nothing
 * overflows. */
static void absorb(struct aead *aead, const u8 *block, size_t count) {
    const u64 r0 = aead->multiplier[0], r1 = aead->multiplier[1], folded = r1 + (r1 >> 2);
    u64 h0 = aead->sum[0], h1 = aead->sum[1], h2 = aead->sum[2];
    for (; count; count--, block += POLY_BLOCK) {
        u128 carry = (u128)h0 + load64(block);
        h0 = (u64)carry;
        carry = (u128)h1 + load64(block + 8) + (u64)(carry >> 64);
        h1 = (u64)carry;
        h2 += 1 + (u64)(carry >> 64);

        const u128 low = (u128)h0 * r0 + (u128)h1 * folded;
        const u128 middle = (u128)h0 * r1 + (u128)h1 * r0 + h2 * folded + (u64)(low >> 64);
        const u64 high = h2 * r0 + (u64)(middle >> 64);

        carry = (u128)(u64)low + (high >> 2) + (high & ~3UL); /* 5 times what is above 2^130 */
        h0 = (u64)carry;
        carry = (u128)(u64)middle + (u64)(carry >> 64);
        h1 = (u64)carry;
        h2 = (high & 3) + (u64)(carry >> 64);
    }
    aead->sum[0] = h0, aead->sum[1] = h1, aead->sum[2] = h2;
}

/* Section 2.5.1: r, some of its bits cleared, then s. */
static void start_sum(struct aead *aead, const u8 key[AEAD_KEY]) {
    aead->multiplier[0] = load64(key) & 0x0ffffffc0fffffff;
    aead->multiplier[1] = load64(key + 8) & 0x0ffffffc0ffffffc;
    aead->last[0] = load64(key + 16);
    aead->last[1] = load64(key + 24);
    aead->sum[0] = aead->sum[1] = aead->sum[2] = 0;
}

/* The sum modulo p, plus s modulo 2^128. If sum + 5 reaches 2^130, the sum is not below p, and sum - p is sum + 5 without the
 * bits from 2^130 on. */
static void finish_sum(const struct aead *aead, u8 tag[AEAD_TAG]) {
    u128 carry = (u128)aead->sum[0] + 5;
    const u64 low = (u64)carry;
    carry = (u128)aead->sum[1] + (u64)(carry >> 64);
    const u64 high = (u64)carry, top = aead->sum[2] + (u64)(carry >> 64);
    const u64 reduced = 0 - opaque(top >> 2);

    carry = (u128)((low & reduced) | (aead->sum[0] & ~reduced)) + aead->last[0];
    store64(tag, (u64)carry);
    store64(tag + 8, ((high & reduced) | (aead->sum[1] & ~reduced)) + aead->last[1] + (u64)(carry >> 64));
}

static void authenticate(struct aead *aead, const u8 *bytes, size_t size) {
    while (size) {
        size_t piece = size - size % POLY_BLOCK;
        if (!aead->pending && piece) {
            absorb(aead, bytes, piece / POLY_BLOCK);
        } else {
            piece = min_u64(size, POLY_BLOCK - aead->pending);
            for (size_t i = 0; i < piece; i++) aead->partial[aead->pending++] = bytes[i];
            if (aead->pending == POLY_BLOCK) absorb(aead, aead->partial, 1), aead->pending = 0;
        }
        bytes += piece;
        size -= piece;
    }
}

/* Section 2.8: zeros up to a whole block. */
static void authenticate_padding(struct aead *aead) {
    static const u8 zeros[POLY_BLOCK];
    if (aead->pending) authenticate(aead, zeros, POLY_BLOCK - aead->pending);
}

/* Section 2.6: Poly1305's key is the block number 0 of the key stream; the text's blocks begin with number 1. */
void aead_start(struct aead *aead, const u8 key[AEAD_KEY], const u8 nonce[AEAD_NONCE], const void *additional,
                size_t additional_size) {
    static const u32 words[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}; /* "expand 32-byte k" */
    for (int i = 0; i < 4; i++) aead->cipher[i] = words[i];
    for (int i = 0; i < 8; i++) aead->cipher[4 + i] = load32(key + 4 * i);
    aead->cipher[12] = 0;
    for (int i = 0; i < 3; i++) aead->cipher[13 + i] = load32(nonce + 4 * i);
    next_block(aead);
    aead->used = CHACHA_BLOCK;
    start_sum(aead, aead->stream);
    aead->pending = 0;
    aead->additional = additional_size;
    aead->text = 0;
    authenticate(aead, additional, additional_size);
    authenticate_padding(aead);
}

void aead_encrypt(struct aead *aead, u8 *text, size_t size) {
    apply_stream(aead, text, size);
    authenticate(aead, text, size);
    aead->text += size;
}

void aead_decrypt(struct aead *aead, u8 *text, size_t size) {
    authenticate(aead, text, size);
    apply_stream(aead, text, size);
    aead->text += size;
}

/* Section 2.8: the last block are the sizes. */
void aead_finish(struct aead *aead, u8 tag[AEAD_TAG]) {
    u8 sizes[POLY_BLOCK];
    authenticate_padding(aead);
    store64(sizes, aead->additional);
    store64(sizes + 8, aead->text);
    absorb(aead, sizes, 1);
    finish_sum(aead, tag);
    wipe(aead, sizeof *aead);
    wipe_stack(STACK_USED);
}

bool aead_verify(struct aead *aead, const u8 tag[AEAD_TAG]) {
    u8 computed[AEAD_TAG];
    aead_finish(aead, computed);
    const bool same = same_secret(computed, tag, AEAD_TAG);
    wipe(computed, sizeof computed);
    return same;
}
