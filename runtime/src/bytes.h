/* What the cryptography shares: numbers in unaligned bytes, wiping that stays, comparing that takes the same time always.
 * Copies of fixed size use the compiler's own memcpy, which is a single move; the runtime's is for long ones. */
#ifndef CLOISTER_BYTES_H
#define CLOISTER_BYTES_H

#include "rt.h"

typedef unsigned __int128 u128;

/* Little-endian, as x86-64 is. */
static inline u32 load32(const u8 *from) {
    u32 value;
    __builtin_memcpy(&value, from, sizeof value);
    return value;
}

static inline u64 load64(const u8 *from) {
    u64 value;
    __builtin_memcpy(&value, from, sizeof value);
    return value;
}

static inline void store32(u8 *to, u32 value) { __builtin_memcpy(to, &value, sizeof value); }
static inline void store64(u8 *to, u64 value) { __builtin_memcpy(to, &value, sizeof value); }

/* The compiler must believe that somebody reads the zeros. */
static inline void wipe(void *secret, size_t size) {
    memset(secret, 0, size);
    __asm__ volatile("" ::"r"(secret) : "memory");
}

/* What the functions called before left below this one's frame: what the compiler spilled there has no name to wipe it by. */
static __attribute__((noinline, unused)) void wipe_stack(size_t depth) {
    u8 left[depth];
    wipe(left, depth);
}

/* A value of which the compiler knows nothing any more, so that it cannot make a branch of arithmetic on it. */
static inline u64 opaque(u64 value) {
    __asm__("" : "+r"(value));
    return value;
}

/* What is made of secrets and yet none: a test that follows secrets through memory defines this, to forget what stands there. */
#ifndef NO_SECRET
#define NO_SECRET(pointer, size) ((void)0)
#endif

/* In a time that depends on `size` alone. */
static inline bool same_secret(const u8 *a, const u8 *b, size_t size) {
    u64 difference = 0;
    for (size_t i = 0; i < size; i++) difference = opaque(difference | (u64)(a[i] ^ b[i]));
    return difference == 0;
}

#endif
