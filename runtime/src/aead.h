/* ChaCha20-Poly1305 (RFC 8439, section 2.8), in constant time and with general registers only. */
#ifndef CLOISTER_AEAD_H
#define CLOISTER_AEAD_H

#include "rt.h"

enum { AEAD_KEY = 32, AEAD_NONCE = 12, AEAD_TAG = 16 };

/* Piece by piece: start, the additional data at once, then the text in pieces of any size, in place. Of one text at most
 * 2^38 - 64 bytes, where ChaCha20's counter ends. The text stands in memory that nobody else writes. */
struct aead {
    u32 cipher[16];  /* ChaCha20's input block */
    u8 stream[64];   /* key stream, used up to `used` */
    u32 used;
    u32 pending;     /* bytes of `partial` */
    u8 partial[16];  /* bytes not yet authenticated */
    u64 sum[3];      /* Poly1305's accumulator, its multiplier r and its last summand s */
    u64 multiplier[2], last[2];
    u64 additional, text; /* bytes so far */
};

void aead_start(struct aead *aead, const u8 key[AEAD_KEY], const u8 nonce[AEAD_NONCE], const void *additional,
                size_t additional_size);
void aead_encrypt(struct aead *aead, u8 *text, size_t size); /* in place */
void aead_decrypt(struct aead *aead, u8 *text, size_t size); /* in place; worthless until aead_verify agrees */
void aead_finish(struct aead *aead, u8 tag[AEAD_TAG]);      /* wipes `aead` */
NODISCARD bool aead_verify(struct aead *aead, const u8 tag[AEAD_TAG]); /* constant time; wipes `aead` */

#endif
