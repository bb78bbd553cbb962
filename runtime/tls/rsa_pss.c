#include "rsa_pss.h"

#include "bytes.h"
#include "sha2.h"

enum { PSS_END = 0xbc, PSS_ZEROS = 8 };

struct part {
    const void *bytes;
    size_t size;
};

static void digest_parts(u8 *digest, size_t digest_size, const struct part *part, int count) {
    struct sha256 small;
    struct sha512 large;
    if (digest_size == SHA256_SIZE) {
        sha256_start(&small);
        for (int i = 0; i < count; i++) sha256_add(&small, part[i].bytes, part[i].size);
        sha256_finish(&small, digest);
        return;
    }
    if (digest_size == SHA384_SIZE) sha384_start(&large);
    else sha512_start(&large);
    for (int i = 0; i < count; i++) sha512_add(&large, part[i].bytes, part[i].size);
    if (digest_size == SHA384_SIZE) sha384_finish(&large, digest);
    else sha512_finish(&large, digest);
}

/* Appendix B.2.1: MGF1, exclusive-or'ed into the text. */
static void apply_mask(u8 *text, size_t size, const u8 *seed, size_t seed_size) {
    u8 mask[SHA512_SIZE], counter[4];
    for (size_t done = 0; done < size; done += seed_size) {
        store32(counter, __builtin_bswap32((u32)(done / seed_size)));
        const struct part part[2] = {{seed, seed_size}, {counter, sizeof counter}};
        digest_parts(mask, seed_size, part, 2);
        for (size_t i = 0; i < seed_size && done + i < size; i++) text[done + i] ^= mask[i];
    }
}

/* Without the byte that is 0 because the encoding is a bit shorter than the modulus. */
struct layout {
    u8 *start;
    size_t size, unused_bits, masked, zeros;
};

static struct layout layout_of(u8 *encoded, size_t bits, size_t digest_size) {
    const size_t whole = (bits + 7) / 8, size = (bits - 1 + 7) / 8;
    return (struct layout){
        .start = encoded + (whole - size), .size = size, .unused_bits = 8 * size - (bits - 1),
        .masked = size - digest_size - 1, .zeros = size - 2 * digest_size - 2,
    };
}

static void digest_salted(u8 *to, const u8 *digest, size_t digest_size, const u8 *salt) {
    static const u8 padding[PSS_ZEROS];
    const struct part part[3] = {{padding, sizeof padding}, {digest, digest_size}, {salt, digest_size}};
    digest_parts(to, digest_size, part, 3);
}

/* Section 9.1.1. */
void pss_encode(u8 *encoded, size_t bits, const u8 *digest, size_t digest_size, const u8 *salt) {
    const struct layout at = layout_of(encoded, bits, digest_size);
    encoded[0] = 0;
    memset(at.start, 0, at.zeros);
    at.start[at.zeros] = 1;
    memcpy(at.start + at.zeros + 1, salt, digest_size);
    digest_salted(at.start + at.masked, digest, digest_size, salt);
    apply_mask(at.start, at.masked, at.start + at.masked, digest_size);
    at.start[0] &= (u8)(0xff >> at.unused_bits);
    at.start[at.size - 1] = PSS_END;
}

/* Section 9.1.2. */
bool pss_verify(u8 *encoded, size_t bits, const u8 *digest, size_t digest_size) {
    const struct layout at = layout_of(encoded, bits, digest_size);
    u8 *const hash = at.start + at.masked, right[SHA512_SIZE];
    if ((at.start > encoded && encoded[0]) || at.start[at.size - 1] != PSS_END || at.start[0] >> (8 - at.unused_bits)) return false;
    apply_mask(at.start, at.masked, hash, digest_size);
    at.start[0] &= (u8)(0xff >> at.unused_bits);
    for (size_t i = 0; i < at.zeros; i++)
        if (at.start[i]) return false;
    if (at.start[at.zeros] != 1) return false;
    digest_salted(right, digest, digest_size, at.start + at.zeros + 1);
    return memcmp(right, hash, digest_size) == 0;
}
