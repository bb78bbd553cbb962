/* HPKE, single shot, receiving side (RFC 9180) with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305: the suite that JOSE
 * calls HPKE-4 (draft-ietf-jose-hpke-encrypt). */
#ifndef CLOISTER_HPKE_H
#define CLOISTER_HPKE_H

#include "aead.h"
#include "x25519.h"

/* Decrypts `text` (ciphertext, then the tag of AEAD_TAG bytes) in place with an empty `info`. False, and the text wiped, if it is
 * not what the holder of the sender's key encrypted to this key with this additional data (mode_auth); without a sender, what
 * anybody did (mode_base). */
NODISCARD bool hpke_open(const u8 private_key[X25519_SIZE], const u8 encapsulated[X25519_SIZE], const u8 *sender, const void *additional,
                         size_t additional_size, u8 *text, size_t size);

#endif
