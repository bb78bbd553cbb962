/* SHA-256 (FIPS 180-4) of N MiB that are made here: sha256 N */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t constants[64], state[8];

static uint32_t turned(uint32_t word, int count) { return word >> count | word << (32 - count); }

/* The first 32 bits of the fractional parts of the cube and square roots of the first primes. */
static uint32_t root_bits(int prime, int cube) {
    uint64_t low = 0, high = (uint64_t)1 << 36;
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        unsigned __int128 power = (unsigned __int128)middle * middle;
        int above = cube ? power * middle > (unsigned __int128)prime << 96 : power > (unsigned __int128)prime << 64;
        if (above) high = middle;
        else low = middle;
    }
    return (uint32_t)low;
}

static void prepare(void) {
    for (int prime = 2, count = 0; count < 64; prime++) {
        int divisor = 2;
        while (divisor * divisor <= prime && prime % divisor) divisor++;
        if (divisor * divisor <= prime) continue;
        if (count < 8) state[count] = root_bits(prime, 0);
        constants[count++] = root_bits(prime, 1);
    }
}

static void block(const uint8_t *bytes) {
    uint32_t words[64], v[8];
    for (int i = 0; i < 16; i++)
        words[i] = (uint32_t)bytes[4 * i] << 24 | bytes[4 * i + 1] << 16 | bytes[4 * i + 2] << 8 | bytes[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = words[i - 15], b = words[i - 2];
        words[i] = words[i - 16] + (turned(a, 7) ^ turned(a, 18) ^ a >> 3) + words[i - 7] + (turned(b, 17) ^ turned(b, 19) ^ b >> 10);
    }
    memcpy(v, state, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t first = v[7] + (turned(v[4], 6) ^ turned(v[4], 11) ^ turned(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) + constants[i] + words[i];
        uint32_t second = (turned(v[0], 2) ^ turned(v[0], 13) ^ turned(v[0], 22)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += first;
        v[0] = first + second;
    }
    for (int i = 0; i < 8; i++) state[i] += v[i];
}

int main(int count, char **words) {
    size_t size = (size_t)(count > 1 ? atoi(words[1]) : 1) << 20;
    uint8_t *bytes = malloc(size);
    if (!bytes) return 1;
    for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)(i * 7);
    prepare();
    for (size_t i = 0; i < size; i += 64) block(bytes + i);
    printf("%08x\n", state[0]);
    return 0;
}
