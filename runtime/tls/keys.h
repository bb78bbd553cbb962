/* Keys of certificates: read from DER, and what is signed with them, by the names that TLS 1.3 gives to ways of signing
 * (RFC 8446, section 4.2.3). */
#ifndef CLOISTER_TLS_KEYS_H
#define CLOISTER_TLS_KEYS_H

#include "rt.h"

enum key_kind { KEY_P256 = 1, KEY_P384 = 2, KEY_ED25519 = 3, KEY_RSA = 4 };

enum signature_scheme {
    ECDSA_SECP256R1_SHA256 = 0x0403, ECDSA_SECP384R1_SHA384 = 0x0503, RSA_PSS_RSAE_SHA256 = 0x0804, RSA_PSS_RSAE_SHA384 = 0x0805,
    RSA_PSS_RSAE_SHA512 = 0x0806, SIGNED_ED25519 = 0x0807,
};

enum {
    KEY_SECRET_MAX = 48, KEY_POINT_MAX = 97, /* of P-384 */
    SIGNATURE_MAX = 512,                     /* RSA with 4096 bits */
    SPKI_MAX = 128,                          /* DER, of every kind but RSA */
    SIGNING_RANDOM = 32,
};

/* Points into the DER that it was read from. Its point, if it is one, is on its curve. */
struct public_key {
    enum key_kind kind;
    const u8 *bytes; /* the uncompressed point with its 4, Ed25519's 32 bytes, or RSA's modulus without zeros before it */
    size_t size;
    u64 exponent; /* RSA's */
};

/* It may be copied. Its holder wipes it. RSA's stays in the DER that it was read from, which must stay too. */
struct private_key {
    enum key_kind kind;
    u8 secret[KEY_SECRET_MAX];        /* big-endian, or Ed25519's seed: as many bytes as the kind has */
    u8 public_bytes[KEY_POINT_MAX];   /* as public_key's */
    const u8 *rsa;                    /* RSAPrivateKey */
    size_t rsa_size;
};

/* A SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7), exactly these bytes. */
NODISCARD bool public_key_read(struct public_key *key, const u8 *der, size_t size);
/* Whether the key's holder signed the message. False too if the scheme is none of the above or not one for this key. */
NODISCARD bool public_key_verify(const struct public_key *key, u32 scheme, const void *message, size_t size, const u8 *signature,
                                 size_t signature_size);

/* PKCS #8 (RFC 5958; RFC 5915; RFC 8410; RFC 8017), exactly these bytes. False too if the public key in it is another one's. */
NODISCARD bool private_key_read(struct private_key *key, const u8 *der, size_t size);
/* A P-256 key of 32 random bytes. False if they are no key, as happens once in 2^32: try others. */
NODISCARD bool private_key_make(struct private_key *key, const u8 random[32]);
enum signature_scheme private_key_scheme(const struct private_key *key);
/* Whether this is its public key. */
NODISCARD bool private_key_is_of(const struct private_key *key, const struct public_key *public_key);
/* The signature's size; 0 if an RSA key's numbers do not belong together, or the processor erred. `random` is PSS's salt, and protects ECDSA's nonce from faults; should it not be random, the nonce is still a secret. */
size_t private_key_sign(const struct private_key *key, const u8 random[SIGNING_RANDOM], const void *message, size_t size,
                        u8 signature[SIGNATURE_MAX]);
/* The size of its SubjectPublicKeyInfo, written to `der`; 0 of RSA. */
size_t private_key_spki(const struct private_key *key, u8 der[SPKI_MAX]);

#endif
