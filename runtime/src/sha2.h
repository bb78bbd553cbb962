/* SHA-256, SHA-384 and SHA-512 (FIPS 180-4). */
#ifndef CLOISTER_SHA2_H
#define CLOISTER_SHA2_H

#include "rt.h"

enum { SHA256_SIZE = 32, SHA384_SIZE = 48, SHA512_SIZE = 64 };

struct sha256 {
    u32 state[8];
    u64 length; /* bytes so far */
    u8 block[64];
};

void sha256_start(struct sha256 *hash);
void sha256_add(struct sha256 *hash, const void *bytes, size_t size);
void sha256_finish(struct sha256 *hash, u8 digest[SHA256_SIZE]);

/* SHA-384 is SHA-512 with another beginning and a shorter end: both stand in this. */
struct sha512 {
    u64 state[8];
    u64 length; /* bytes so far */
    u8 block[128];
};

void sha384_start(struct sha512 *hash);
void sha512_start(struct sha512 *hash);
void sha512_add(struct sha512 *hash, const void *bytes, size_t size);
void sha384_finish(struct sha512 *hash, u8 digest[SHA384_SIZE]);
void sha512_finish(struct sha512 *hash, u8 digest[SHA512_SIZE]);
void sha384(const void *bytes, size_t size, u8 digest[SHA384_SIZE]);

#endif
