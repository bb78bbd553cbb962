#include "aes_gcm.h"

#include <cpuid.h>
#include <emmintrin.h>
#include <smmintrin.h>
#include <tmmintrin.h>
#include <wmmintrin.h>

typedef __m128i vector;

enum { ROUNDS = 14, ROUNDS_128 = 10, LANES = 8 };

static inline vector load(const void *from) { return _mm_loadu_si128(from); }
static inline void store(void *to, vector value) { _mm_storeu_si128(to, value); }
static inline vector reversed(vector value) {
    return _mm_shuffle_epi8(value, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

bool gcm_is_supported(void) {
    u32 a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return false;
    return (c & bit_AES) && (c & bit_PCLMUL) && (c & bit_SSSE3) && (c & bit_SSE4_1);
}

/* FIPS 197, section 5.2. */
static vector spread(vector key) {
    key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
    key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
    return _mm_xor_si128(key, _mm_slli_si128(key, 4));
}

#define EXPAND_EVEN(even, odd, constant) \
    _mm_xor_si128(spread(even), _mm_shuffle_epi32(_mm_aeskeygenassist_si128(odd, constant), 0xff))
#define EXPAND_ODD(odd, even) _mm_xor_si128(spread(odd), _mm_shuffle_epi32(_mm_aeskeygenassist_si128(even, 0), 0xaa))

static void expand_key(struct gcm *gcm, const u8 key[32]) {
    vector even = load(key), odd = load(key + 16);
    u8(*to)[16] = gcm->round_key;
    store(*to++, even);
    store(*to++, odd);
#define STEP(constant)                          \
    even = EXPAND_EVEN(even, odd, constant);    \
    store(*to++, even);                         \
    if (constant != 0x40) {                     \
        odd = EXPAND_ODD(odd, even);            \
        store(*to++, odd);                      \
    }
    STEP(0x01) STEP(0x02) STEP(0x04) STEP(0x08) STEP(0x10) STEP(0x20) STEP(0x40)
#undef STEP
}

static void expand_key_128(struct gcm *gcm, const u8 key[16]) {
    vector word = load(key);
    u8(*to)[16] = gcm->round_key;
    store(*to++, word);
#define STEP(constant)                           \
    word = EXPAND_EVEN(word, word, constant);    \
    store(*to++, word);
    STEP(0x01) STEP(0x02) STEP(0x04) STEP(0x08) STEP(0x10) STEP(0x20) STEP(0x40) STEP(0x80) STEP(0x1b) STEP(0x36)
#undef STEP
}

static vector encrypt_one(const struct gcm *gcm, vector block) {
    block = _mm_xor_si128(block, load(gcm->round_key[0]));
    for (u64 round = 1; round < gcm->rounds; round++) block = _mm_aesenc_si128(block, load(gcm->round_key[round]));
    return _mm_aesenclast_si128(block, load(gcm->round_key[gcm->rounds]));
}

static inline void encrypt_lanes(const struct gcm *gcm, vector lane[LANES]) {
    vector key = load(gcm->round_key[0]);
    for (int i = 0; i < LANES; i++) lane[i] = _mm_xor_si128(lane[i], key);
    for (u64 round = 1; round < gcm->rounds; round++) {
        key = load(gcm->round_key[round]);
        for (int i = 0; i < LANES; i++) lane[i] = _mm_aesenc_si128(lane[i], key);
    }
    key = load(gcm->round_key[gcm->rounds]);
    for (int i = 0; i < LANES; i++) lane[i] = _mm_aesenclast_si128(lane[i], key);
}

/* A product before its reduction: 256 bits in three parts, so that the products of several blocks are reduced together. */
struct product {
    vector low, middle, high;
};

static inline void add_product(struct product *sum, vector a, vector b) {
    sum->low = _mm_xor_si128(sum->low, _mm_clmulepi64_si128(a, b, 0x00));
    sum->high = _mm_xor_si128(sum->high, _mm_clmulepi64_si128(a, b, 0x11));
    sum->middle = _mm_xor_si128(sum->middle, _mm_clmulepi64_si128(a, b, 0x10));
    sum->middle = _mm_xor_si128(sum->middle, _mm_clmulepi64_si128(a, b, 0x01));
}

/* Modulo x^128 + x^7 + x^2 + x + 1, in GCM's reflected order of bits: the product is shifted left by one bit, then its low half is
 * folded into the high one in two steps. */
static inline vector reduce(const struct product *sum) {
    vector low = _mm_xor_si128(sum->low, _mm_slli_si128(sum->middle, 8));
    vector high = _mm_xor_si128(sum->high, _mm_srli_si128(sum->middle, 8));
    vector carry_low = _mm_srli_epi32(low, 31), carry_high = _mm_srli_epi32(high, 31);
    low = _mm_or_si128(_mm_slli_epi32(low, 1), _mm_slli_si128(carry_low, 4));
    high = _mm_or_si128(_mm_slli_epi32(high, 1), _mm_slli_si128(carry_high, 4));
    high = _mm_or_si128(high, _mm_srli_si128(carry_low, 12));
    vector fold = _mm_xor_si128(_mm_xor_si128(_mm_slli_epi32(low, 31), _mm_slli_epi32(low, 30)), _mm_slli_epi32(low, 25));
    low = _mm_xor_si128(low, _mm_slli_si128(fold, 12));
    vector rest = _mm_xor_si128(_mm_xor_si128(_mm_srli_epi32(low, 1), _mm_srli_epi32(low, 2)), _mm_srli_epi32(low, 7));
    rest = _mm_xor_si128(rest, _mm_srli_si128(fold, 4));
    return _mm_xor_si128(high, _mm_xor_si128(low, rest));
}

static vector multiply(vector a, vector b) {
    struct product sum = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};
    add_product(&sum, a, b);
    return reduce(&sum);
}

static void make_powers(struct gcm *gcm) {
    vector h = reversed(encrypt_one(gcm, _mm_setzero_si128())), power = h;
    for (int i = 0; i < GCM_POWERS; i++) {
        store(gcm->power[i], power);
        power = multiply(power, h);
    }
}

void gcm_init(struct gcm *gcm, const u8 key[32]) {
    gcm->rounds = ROUNDS;
    expand_key(gcm, key);
    make_powers(gcm);
}

void gcm_init_128(struct gcm *gcm, const u8 key[16]) {
    gcm->rounds = ROUNDS_128;
    expand_key_128(gcm, key);
    make_powers(gcm);
}

/* GHASH goes on over `size` bytes; the last block is filled up with zeros. */
static vector hash(const struct gcm *gcm, vector state, const u8 *data, size_t size) {
    for (; size >= 16 * LANES; data += 16 * LANES, size -= 16 * LANES) {
        struct product sum = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};
        add_product(&sum, _mm_xor_si128(state, reversed(load(data))), load(gcm->power[LANES - 1]));
        for (int i = 1; i < LANES; i++) add_product(&sum, reversed(load(data + 16 * i)), load(gcm->power[LANES - 1 - i]));
        state = reduce(&sum);
    }
    vector h = load(gcm->power[0]);
    for (; size >= 16; data += 16, size -= 16) state = multiply(_mm_xor_si128(state, reversed(load(data))), h);
    if (!size) return state;
    u8 last[16] = {0};
    memcpy(last, data, size);
    return multiply(_mm_xor_si128(state, reversed(load(last))), h);
}

static inline vector first_counter(const u8 nonce[GCM_NONCE]) {
    u8 block[16] = {0};
    memcpy(block, nonce, GCM_NONCE);
    return load(block);
}

static inline vector counter_block(vector first, u32 counter) {
    return _mm_insert_epi32(first, (int)__builtin_bswap32(counter), 3);
}

/* Key streams for a group of blocks, while GHASH goes on over another of as many: the processor does both at once. */
static inline vector encrypt_and_hash(const struct gcm *gcm, vector lane[LANES], vector state, const u8 *hashed) {
    struct product sum = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};
    vector key = load(gcm->round_key[0]);
    for (int i = 0; i < LANES; i++) lane[i] = _mm_xor_si128(lane[i], key);
    state = _mm_xor_si128(state, reversed(load(hashed)));
#pragma GCC unroll 8
    for (int block = 0; block < LANES; block++) {
        key = load(gcm->round_key[1 + block]);
        for (int i = 0; i < LANES; i++) lane[i] = _mm_aesenc_si128(lane[i], key);
        add_product(&sum, block ? reversed(load(hashed + 16 * block)) : state, load(gcm->power[LANES - 1 - block]));
    }
    for (u64 round = 1 + LANES; round < gcm->rounds; round++) {
        key = load(gcm->round_key[round]);
        for (int i = 0; i < LANES; i++) lane[i] = _mm_aesenc_si128(lane[i], key);
    }
    key = load(gcm->round_key[gcm->rounds]);
    for (int i = 0; i < LANES; i++) lane[i] = _mm_aesenclast_si128(lane[i], key);
    return reduce(&sum);
}

static inline void next_counters(vector lane[LANES], vector first, u32 counter) {
    for (u32 i = 0; i < LANES; i++) lane[i] = counter_block(first, counter + i);
}

static inline void put_group(const vector lane[LANES], const u8 *in, u8 *out) {
    for (int i = 0; i < LANES; i++) store(out + 16 * i, _mm_xor_si128(lane[i], load(in + 16 * i)));
}

enum { GROUP = 16 * LANES, FIRST_COUNTER = 2 };

/* All whole groups; returns GHASH's state behind them. What is hashed is what was sealed just before. */
static vector seal_groups(const struct gcm *gcm, vector first, vector state, const u8 *in, size_t groups, u8 *out) {
    vector lane[LANES];
    for (size_t group = 0; group < groups; group++, in += GROUP, out += GROUP) {
        next_counters(lane, first, FIRST_COUNTER + (u32)group * LANES);
        if (group) state = encrypt_and_hash(gcm, lane, state, out - GROUP);
        else encrypt_lanes(gcm, lane);
        put_group(lane, in, out);
    }
    return groups ? hash(gcm, state, out - GROUP, GROUP) : state;
}

static vector open_groups(const struct gcm *gcm, vector first, vector state, const u8 *in, size_t groups, u8 *out) {
    vector lane[LANES];
    for (size_t group = 0; group < groups; group++, in += GROUP, out += GROUP) {
        next_counters(lane, first, FIRST_COUNTER + (u32)group * LANES);
        state = encrypt_and_hash(gcm, lane, state, in);
        put_group(lane, in, out);
    }
    return state;
}

/* What is behind the groups. */
static void apply_stream(const struct gcm *gcm, vector first, u32 counter, const u8 *in, size_t size, u8 *out) {
    while (size) {
        u8 stream[16];
        size_t piece = size < 16 ? size : 16;
        store(stream, encrypt_one(gcm, counter_block(first, counter++)));
        for (size_t i = 0; i < piece; i++) out[i] = in[i] ^ stream[i];
        in += piece, out += piece, size -= piece;
    }
}

static void make_tag(const struct gcm *gcm, vector first, vector state, size_t aad_size, size_t size, u8 tag[GCM_TAG]) {
    vector lengths = _mm_set_epi64x((long long)(aad_size * 8), (long long)(size * 8));
    state = multiply(_mm_xor_si128(state, lengths), load(gcm->power[0]));
    store(tag, _mm_xor_si128(reversed(state), encrypt_one(gcm, counter_block(first, 1))));
}

void gcm_seal(const struct gcm *gcm, const u8 nonce[GCM_NONCE], const u8 *aad, size_t aad_size, const u8 *in, size_t size, u8 *out,
              u8 tag[GCM_TAG]) {
    size_t groups = size / GROUP, done = groups * GROUP;
    vector first = first_counter(nonce), state = hash(gcm, _mm_setzero_si128(), aad, aad_size);
    state = seal_groups(gcm, first, state, in, groups, out);
    apply_stream(gcm, first, FIRST_COUNTER + (u32)groups * LANES, in + done, size - done, out + done);
    state = hash(gcm, state, out + done, size - done);
    make_tag(gcm, first, state, aad_size, size, tag);
}

bool gcm_open(const struct gcm *gcm, const u8 nonce[GCM_NONCE], const u8 *aad, size_t aad_size, const u8 *in, size_t size, u8 *out,
              const u8 tag[GCM_TAG]) {
    size_t groups = size / GROUP, done = groups * GROUP;
    vector first = first_counter(nonce), state = hash(gcm, _mm_setzero_si128(), aad, aad_size);
    state = open_groups(gcm, first, state, in, groups, out);
    state = hash(gcm, state, in + done, size - done);
    apply_stream(gcm, first, FIRST_COUNTER + (u32)groups * LANES, in + done, size - done, out + done);
    u8 right[GCM_TAG], difference = 0;
    make_tag(gcm, first, state, aad_size, size, right);
    for (int i = 0; i < GCM_TAG; i++) difference |= (u8)(right[i] ^ tag[i]);
    if (difference) memset(out, 0, size);
    return !difference;
}
