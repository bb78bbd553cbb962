/* AES-GCM (NIST SP 800-38D) with keys of 256 or 128 bits and nonces of 12 bytes, by the processor's instructions for AES and
 * carry-less multiplication. */
#ifndef CLOISTER_VOLUME_AES_GCM_H
#define CLOISTER_VOLUME_AES_GCM_H

#include "types.h"

enum { GCM_NONCE = 12, GCM_TAG = 16, GCM_POWERS = 8 };

struct gcm {
    u8 round_key[15][16];
    u8 power[GCM_POWERS][16]; /* H^1 to H^8, byte-reversed */
    u64 rounds;               /* 14, or 10 of a key of 128 bits */
} __attribute__((aligned(16)));

NODISCARD bool gcm_is_supported(void);
void gcm_init(struct gcm *gcm, const u8 key[32]);
void gcm_init_128(struct gcm *gcm, const u8 key[16]);
/* `in` and `out` may be the same; both may be empty. */
void gcm_seal(const struct gcm *gcm, const u8 nonce[GCM_NONCE], const u8 *aad, size_t aad_size, const u8 *in, size_t size, u8 *out,
              u8 tag[GCM_TAG]);
/* False, and `out` zeroed, if the tag is wrong. */
NODISCARD bool gcm_open(const struct gcm *gcm, const u8 nonce[GCM_NONCE], const u8 *aad, size_t aad_size, const u8 *in, size_t size,
                        u8 *out, const u8 tag[GCM_TAG]);

#endif
