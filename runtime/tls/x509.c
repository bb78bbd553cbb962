#include "x509.h"

#include "der.h"

/* Any one element of the tag, whatever is in it. */
static bool skip(struct der *der, u32 tag) {
    struct der inside;
    return der_take(der, tag, &inside);
}

/* Section 4.1.2.9: each an identifier, perhaps a BOOLEAN, and an OCTET STRING. Their meaning is nobody's business here. */
static bool read_extensions(struct der *der) {
    struct der outside, list, one;
    if (!der_next_is(der, DER_CONTEXT_CONSTRUCTED + 3)) return true;
    if (!der_take(der, DER_CONTEXT_CONSTRUCTED + 3, &outside)) return false;
    if (!der_take(&outside, DER_SEQUENCE, &list) || !der_at_end(&outside) || der_at_end(&list)) return false;
    while (!der_at_end(&list)) {
        if (!der_take(&list, DER_SEQUENCE, &one) || !skip(&one, DER_OID)) return false;
        if (der_next_is(&one, DER_BOOLEAN) && !skip(&one, DER_BOOLEAN)) return false;
        if (!skip(&one, DER_OCTETS) || !der_at_end(&one)) return false;
    }
    return true;
}

static bool read_validity(struct x509 *certificate, struct der *der) {
    struct der inside;
    if (!der_take(der, DER_SEQUENCE, &inside)) return false;
    return der_take_time(&inside, &certificate->not_before) && der_take_time(&inside, &certificate->not_after) && der_at_end(&inside);
}

static bool read_key(struct x509 *certificate, struct der *der) {
    certificate->spki = der->at;
    if (!skip(der, DER_SEQUENCE)) return false;
    certificate->spki_size = (size_t)(der->at - certificate->spki);
    return public_key_read(&certificate->key, certificate->spki, certificate->spki_size);
}

/* Section 4.1: version 3, a serial number of any sign (some TEEs' are 0), the rest in its order. */
static bool read_signed_part(struct x509 *certificate, struct der der) {
    struct der version;
    if (!der_take(&der, DER_CONTEXT_CONSTRUCTED + 0, &version) || !der_take_small(&version, 2) || !der_at_end(&version)) return false;
    if (!skip(&der, DER_INTEGER) || !skip(&der, DER_SEQUENCE) || !skip(&der, DER_SEQUENCE)) return false; /* algorithm, issuer */
    if (!read_validity(certificate, &der) || !skip(&der, DER_SEQUENCE) || !read_key(certificate, &der)) return false; /* subject */
    for (u32 identifier = 1; identifier <= 2; identifier++)
        if (der_next_is(&der, DER_CONTEXT + identifier) && !skip(&der, DER_CONTEXT + identifier)) return false;
    return read_extensions(&der) && der_at_end(&der);
}

bool x509_read(struct x509 *certificate, const u8 *der, size_t size) {
    struct der outside = der_of(der, size), whole, inside, signature;
    *certificate = (struct x509){0};
    if (size > X509_MAX || !der_take(&outside, DER_SEQUENCE, &whole) || !der_at_end(&outside)) return false;
    if (!der_take(&whole, DER_SEQUENCE, &inside) || !skip(&whole, DER_SEQUENCE)) return false;
    if (!der_take_bits(&whole, &signature) || !der_at_end(&whole)) return false;
    return read_signed_part(certificate, inside);
}

void x509_pin(const struct x509 *certificate, u8 pin[SHA256_SIZE]) {
    struct sha256 hash;
    sha256_start(&hash);
    sha256_add(&hash, certificate->spki, certificate->spki_size);
    sha256_finish(&hash, pin);
}
