/* SHA-256 and SHA-384 (FIPS 180-4). */
#ifndef CLOISTER_SHA2_H
#define CLOISTER_SHA2_H

#include "rt.h"

enum { SHA256_SIZE = 32, SHA384_SIZE = 48 };

struct sha256 {
    u32 state[8];
    u64 length; /* bytes so far */
    u8 block[64];
};

void sha256_start(struct sha256 *hash);
void sha256_add(struct sha256 *hash, const void *bytes, size_t size);
void sha256_finish(struct sha256 *hash, u8 digest[SHA256_SIZE]);
void sha384(const void *bytes, size_t size, u8 digest[SHA384_SIZE]);

#endif
