/* ChaCha20-Poly1305 (RFC 8439, section 2.8), in constant time and with general registers only. */
#ifndef CLOISTER_AEAD_H
#define CLOISTER_AEAD_H

#include "rt.h"

enum { AEAD_KEY = 32, AEAD_NONCE = 12, AEAD_TAG = 16 };

/* Piece by piece: start, the additional data at once, then the text in pieces of any size, in place. */
struct aead {
    u32 cipher[16];  /* ChaCha20's input block */
    u8 stream[64];   /* key stream, used up to `used` */
    u32 used;
    u64 poly[16];    /* owned by aead.c */
    u8 partial[16];  /* bytes not yet authenticated */
    u32 pending;
    u64 additional, text; /* bytes so far */
};

void aead_start(struct aead *aead, const u8 key[AEAD_KEY], const u8 nonce[AEAD_NONCE], const void *additional, size_t additional_size);
void aead_encrypt(struct aead *aead, u8 *text, size_t size); /* in place */
void aead_decrypt(struct aead *aead, u8 *text, size_t size); /* in place; worthless until aead_verify agrees */
void aead_finish(struct aead *aead, u8 tag[AEAD_TAG]);      /* wipes `aead` */
NODISCARD bool aead_verify(struct aead *aead, const u8 tag[AEAD_TAG]); /* constant time; wipes `aead` */

#endif
