#include "key_names.h"

static const u8 elliptic[] = {DER_OID, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1}; /* 1.2.840.10045.2.1 */
static const u8 p256[] = {DER_OID, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7};  /* 1.2.840.10045.3.1.7 */
static const u8 p384[] = {DER_OID, 5, 0x2b, 0x81, 4, 0, 0x22};                 /* 1.3.132.0.34 */
static const u8 ed25519[] = {DER_OID, 3, 0x2b, 0x65, 0x70};                    /* 1.3.101.112 */
static const u8 rsa[] = {DER_OID, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1}; /* 1.2.840.113549.1.1.1 */
/* ecdsa-with-SHA256 and -SHA384: 1.2.840.10045.4.3.2 and .3 */
static const u8 ecdsa_256[] = {DER_OID, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2};
static const u8 ecdsa_384[] = {DER_OID, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3};

bool key_name_take_curve(struct der *der, enum key_kind *kind) {
    *kind = KEY_P256;
    if (der_take_oid(der, p256)) return true;
    *kind = KEY_P384;
    return der_take_oid(der, p384);
}

bool key_name_take(struct der *der, enum key_kind *kind) {
    struct der inside, nothing;
    if (!der_take(der, DER_SEQUENCE, &inside)) return false;
    if (der_take_oid(&inside, elliptic)) {
        if (!key_name_take_curve(&inside, kind)) return false;
    } else if (der_take_oid(&inside, ed25519)) {
        *kind = KEY_ED25519;
    } else if (der_take_oid(&inside, rsa)) {
        *kind = KEY_RSA;
        if (!der_take(&inside, DER_NULL, &nothing) || !der_at_end(&nothing)) return false;
    } else {
        return false;
    }
    return der_at_end(&inside);
}

void key_name_put(struct der_writer *writer, enum key_kind kind) {
    const u8 *end = writer->at;
    if (kind == KEY_ED25519) {
        der_put(writer, ed25519, sizeof ed25519);
    } else {
        if (kind == KEY_P256) der_put(writer, p256, sizeof p256);
        else der_put(writer, p384, sizeof p384);
        der_put(writer, elliptic, sizeof elliptic);
    }
    der_wrap(writer, DER_SEQUENCE, end);
}

void key_name_put_scheme(struct der_writer *writer, enum key_kind kind) {
    const u8 *end = writer->at;
    if (kind == KEY_ED25519) der_put(writer, ed25519, sizeof ed25519);
    else if (kind == KEY_P256) der_put(writer, ecdsa_256, sizeof ecdsa_256);
    else der_put(writer, ecdsa_384, sizeof ecdsa_384);
    der_wrap(writer, DER_SEQUENCE, end);
}
