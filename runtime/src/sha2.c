/* FIPS 180-4. What is hashed may be a key, so the message schedule is wiped. */
#include "sha2.h"

#include "bytes.h"

enum { BLOCK_256 = 64, BLOCK_512 = 128, ROUNDS_256 = 64, ROUNDS_512 = 80, WORDS = 16 };

/* Section 4.2.3: the first 64 bits of the fractions of the cube roots of the first 80 primes. SHA-256 uses the upper halves of
 * the first 64 (section 4.2.2). */
static const u64 constants[ROUNDS_512] = {
    0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc,
    0x3956c25bf348b538, 0x59f111f1b605d019, 0x923f82a4af194f9b, 0xab1c5ed5da6d8118,
    0xd807aa98a3030242, 0x12835b0145706fbe, 0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2,
    0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235, 0xc19bf174cf692694,
    0xe49b69c19ef14ad2, 0xefbe4786384f25e3, 0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65,
    0x2de92c6f592b0275, 0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5,
    0x983e5152ee66dfab, 0xa831c66d2db43210, 0xb00327c898fb213f, 0xbf597fc7beef0ee4,
    0xc6e00bf33da88fc2, 0xd5a79147930aa725, 0x06ca6351e003826f, 0x142929670a0e6e70,
    0x27b70a8546d22ffc, 0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed, 0x53380d139d95b3df,
    0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6, 0x92722c851482353b,
    0xa2bfe8a14cf10364, 0xa81a664bbc423001, 0xc24b8b70d0f89791, 0xc76c51a30654be30,
    0xd192e819d6ef5218, 0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8,
    0x19a4c116b8d2d0c8, 0x1e376c085141ab53, 0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8,
    0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb, 0x5b9cca4f7763e373, 0x682e6ff3d6b2b8a3,
    0x748f82ee5defb2fc, 0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec,
    0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915, 0xc67178f2e372532b,
    0xca273eceea26619c, 0xd186b8c721c0c207, 0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178,
    0x06f067aa72176fba, 0x0a637dc5a2c898a6, 0x113f9804bef90dae, 0x1b710b35131c471b,
    0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc, 0x431d67c49c100d4c,
    0x4cc5d4becb3e42b6, 0x597f299cfc657e2a, 0x5fcb6fab3ad6faec, 0x6c44198c4a475817,
};

/* Section 5.3: the same of the square roots of the first 8 primes, and of the 9th to 16th. */
static const u32 initial_256[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};
static const u64 initial_384[8] = {
    0xcbbb9d5dc1059ed8, 0x629a292a367cd507, 0x9159015a3070dd17, 0x152fecd8f70e5939,
    0x67332667ffc00b31, 0x8eb44a8768581511, 0xdb0c2e0d64f98fa7, 0x47b5481dbefa4fa4,
};
/* Of the first 8, more of it than SHA-256 takes. */
static const u64 initial_512[8] = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
};

static inline u32 right32(u32 x, int n) { return x >> n | x << (32 - n); }
static inline u64 right64(u64 x, int n) { return x >> n | x << (64 - n); }

/* Sections 6.2.2 and 6.4.2, step 3. In round i the variable that is called a..h there is v[(n - i) mod 8]: instead of all of
 * them moving one place, their names do. */
#define NAMED(n) v[((n) - i) & 7]

static inline void round_256(u32 v[8], int i, u32 input) {
    const u32 a = NAMED(0), b = NAMED(1), c = NAMED(2), e = NAMED(4), f = NAMED(5), g = NAMED(6);
    u32 sum = right32(e, 6) ^ right32(e, 11) ^ right32(e, 25);
    const u32 first = NAMED(7) + sum + (g ^ (e & (f ^ g))) + input;
    sum = right32(a, 2) ^ right32(a, 13) ^ right32(a, 22);
    NAMED(3) += first;
    NAMED(7) = first + sum + ((a & b) | (c & (a | b)));
}

static inline void round_512(u64 v[8], int i, u64 input) {
    const u64 a = NAMED(0), b = NAMED(1), c = NAMED(2), e = NAMED(4), f = NAMED(5), g = NAMED(6);
    u64 sum = right64(e, 14) ^ right64(e, 18) ^ right64(e, 41);
    const u64 first = NAMED(7) + sum + (g ^ (e & (f ^ g))) + input;
    sum = right64(a, 28) ^ right64(a, 34) ^ right64(a, 39);
    NAMED(3) += first;
    NAMED(7) = first + sum + ((a & b) | (c & (a | b)));
}

/* Sections 6.2.2 and 6.4.2, step 1: the words of the block, and more made of them; each with its round's constant at once. */
static void schedule_256(u32 w[ROUNDS_256], const u8 *block) {
    for (int i = 0; i < WORDS; i++) w[i] = __builtin_bswap32(load32(block + 4 * i));
    for (int i = WORDS; i < ROUNDS_256; i++) {
        const u32 x = w[i - 15], y = w[i - 2];
        w[i] = w[i - 16] + (right32(x, 7) ^ right32(x, 18) ^ x >> 3) + w[i - 7] + (right32(y, 17) ^ right32(y, 19) ^ y >> 10);
    }
}

static void schedule_512(u64 w[ROUNDS_512], const u8 *block) {
    for (int i = 0; i < WORDS; i++) w[i] = __builtin_bswap64(load64(block + 8 * i));
    for (int i = WORDS; i < ROUNDS_512; i++) {
        const u64 x = w[i - 15], y = w[i - 2];
        w[i] = w[i - 16] + (right64(x, 1) ^ right64(x, 8) ^ x >> 7) + w[i - 7] + (right64(y, 19) ^ right64(y, 61) ^ y >> 6);
    }
}

static void blocks_256(u32 state[8], const u8 *block, size_t count) {
    u32 w[ROUNDS_256];
    for (; count; count--, block += BLOCK_256) {
        u32 v[8];
        __builtin_memcpy(v, state, sizeof v);
        schedule_256(w, block);
        for (int t = 0; t < ROUNDS_256; t += 8) {
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++) round_256(v, i, (u32)(constants[t + i] >> 32) + w[t + i]);
        }
        for (int i = 0; i < 8; i++) state[i] += v[i];
    }
    wipe(w, sizeof w);
}

static void blocks_512(u64 state[8], const u8 *block, size_t count) {
    u64 w[ROUNDS_512];
    for (; count; count--, block += BLOCK_512) {
        u64 v[8];
        __builtin_memcpy(v, state, sizeof v);
        schedule_512(w, block);
        for (int t = 0; t < ROUNDS_512; t += 8) {
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++) round_512(v, i, constants[t + i] + w[t + i]);
        }
        for (int i = 0; i < 8; i++) state[i] += v[i];
    }
    wipe(w, sizeof w);
}

void sha256_start(struct sha256 *hash) {
    __builtin_memcpy(hash->state, initial_256, sizeof initial_256);
    hash->length = 0;
}

void sha256_add(struct sha256 *hash, const void *bytes, size_t size) {
    const u8 *from = bytes;
    const size_t held = hash->length % BLOCK_256;
    if (!size) return; /* perhaps of NULL */
    hash->length += size;
    if (held) {
        const size_t piece = min_u64(size, BLOCK_256 - held);
        memcpy(hash->block + held, from, piece);
        if (held + piece < BLOCK_256) return;
        blocks_256(hash->state, hash->block, 1);
        from += piece;
        size -= piece;
    }
    blocks_256(hash->state, from, size / BLOCK_256);
    memcpy(hash->block, from + size / BLOCK_256 * BLOCK_256, size % BLOCK_256);
}

/* Section 5.1.1: a bit 1, zeros, the length in bits. */
void sha256_finish(struct sha256 *hash, u8 digest[SHA256_SIZE]) {
    const u64 bits = __builtin_bswap64(hash->length * 8);
    const size_t held = hash->length % BLOCK_256;
    u8 last[2 * BLOCK_256] = {0};
    const size_t size = held < BLOCK_256 - 8 ? BLOCK_256 : 2 * BLOCK_256;
    memcpy(last, hash->block, held);
    last[held] = 0x80;
    store64(last + size - 8, bits);
    blocks_256(hash->state, last, size / BLOCK_256);
    for (int i = 0; i < 8; i++) store32(digest + 4 * i, __builtin_bswap32(hash->state[i]));
    wipe(last, sizeof last);
    wipe(hash, sizeof *hash);
}

void sha384_start(struct sha512 *hash) {
    __builtin_memcpy(hash->state, initial_384, sizeof initial_384);
    hash->length = 0;
}

void sha512_start(struct sha512 *hash) {
    __builtin_memcpy(hash->state, initial_512, sizeof initial_512);
    hash->length = 0;
}

void sha512_add(struct sha512 *hash, const void *bytes, size_t size) {
    const u8 *from = bytes;
    const size_t held = hash->length % BLOCK_512;
    if (!size) return; /* perhaps of NULL */
    hash->length += size;
    if (held) {
        const size_t piece = min_u64(size, BLOCK_512 - held);
        memcpy(hash->block + held, from, piece);
        if (held + piece < BLOCK_512) return;
        blocks_512(hash->state, hash->block, 1);
        from += piece;
        size -= piece;
    }
    blocks_512(hash->state, from, size / BLOCK_512);
    memcpy(hash->block, from + size / BLOCK_512 * BLOCK_512, size % BLOCK_512);
}

/* Section 5.1.2: the same with a length of 16 bytes, whose upper half is 0 for everything that fits into memory. */
static void finish_512(struct sha512 *hash, u8 *digest, int size) {
    const size_t held = hash->length % BLOCK_512;
    const size_t end = held < BLOCK_512 - 16 ? BLOCK_512 : 2 * BLOCK_512;
    u8 last[2 * BLOCK_512] = {0};
    memcpy(last, hash->block, held);
    last[held] = 0x80;
    store64(last + end - 8, __builtin_bswap64(hash->length * 8));
    blocks_512(hash->state, last, end / BLOCK_512);
    for (int i = 0; i < size / 8; i++) store64(digest + 8 * i, __builtin_bswap64(hash->state[i]));
    wipe(last, sizeof last);
    wipe(hash, sizeof *hash);
}

void sha384_finish(struct sha512 *hash, u8 digest[SHA384_SIZE]) { finish_512(hash, digest, SHA384_SIZE); }

void sha512_finish(struct sha512 *hash, u8 digest[SHA512_SIZE]) { finish_512(hash, digest, SHA512_SIZE); }

void sha384(const void *bytes, size_t size, u8 digest[SHA384_SIZE]) {
    struct sha512 hash;
    sha384_start(&hash);
    sha512_add(&hash, bytes, size);
    sha384_finish(&hash, digest);
}
