#include "ra_certificate.h"

#include "bytes.h"
#include "ecdsa.h"
#include "key_names.h"
#include "sha2.h"

enum {
    SERIAL_SIZE = 16, CLAIMS_MAX = 64,
    CBOR_OCTETS = 2, CBOR_TEXT = 3, CBOR_LIST = 4, CBOR_MAP = 5, CBOR_TAG = 6, /* major types (RFC 8949, section 3.1) */
    QUOTE_AND_CLAIMS = 60000, NAMED_SHA256 = 1,
};

/* RFC 8949, section 3: a type and a number, the shortest way. */
static void put_head(struct der_writer *writer, u32 type, u64 number) {
    if (number < 24) {
        der_put_byte(writer, type << 5 | (u32)number);
        return;
    }
    der_put_byte(writer, number & 0xff);
    if (number < 0x100) {
        der_put_byte(writer, type << 5 | 24);
        return;
    }
    der_put_byte(writer, (u32)(number >> 8) & 0xff);
    der_put_byte(writer, type << 5 | 25);
}

static void put_octets(struct der_writer *writer, const u8 *bytes, size_t size) {
    der_put(writer, bytes, size);
    put_head(writer, CBOR_OCTETS, size);
}

/* {"pubkey-hash": bytes of [1, digest]} */
static void put_claims(struct der_writer *writer, const struct private_key *key) {
    static const char name[] = {'p', 'u', 'b', 'k', 'e', 'y', '-', 'h', 'a', 's', 'h'};
    u8 spki[SPKI_MAX], digest[SHA256_SIZE];
    struct sha256 hash;
    const u8 *end = writer->at;
    sha256_start(&hash);
    sha256_add(&hash, spki, private_key_spki(key, spki));
    sha256_finish(&hash, digest);
    put_octets(writer, digest, sizeof digest);
    put_head(writer, 0, NAMED_SHA256);
    put_head(writer, CBOR_LIST, 2);
    put_head(writer, CBOR_OCTETS, (u64)(end - writer->at));
    der_put(writer, name, sizeof name);
    put_head(writer, CBOR_TEXT, sizeof name);
    put_head(writer, CBOR_MAP, 1);
}

void ra_report_data(const struct private_key *key, u8 report_data[RA_REPORT_DATA]) {
    u8 claims[CLAIMS_MAX];
    struct der_writer writer = der_write_to(claims, sizeof claims);
    struct sha256 hash;
    put_claims(&writer, key);
    memset(report_data, 0, RA_REPORT_DATA);
    sha256_start(&hash);
    sha256_add(&hash, writer.at, (size_t)(claims + sizeof claims - writer.at));
    sha256_finish(&hash, report_data);
}

/* One extension; its value stands from `at` on, `end` was before. */
static void wrap_extension(struct der_writer *writer, const u8 *end, const u8 *oid, bool is_critical) {
    static const u8 critical[] = {DER_BOOLEAN, 1, 0xff};
    der_wrap(writer, DER_OCTETS, end);
    if (is_critical) der_put(writer, critical, sizeof critical);
    der_put(writer, oid, 2u + oid[1]);
    der_wrap(writer, DER_SEQUENCE, end);
}

static void put_evidence(struct der_writer *writer, const struct ra_certificate *made) {
    static const u8 oid[] = {DER_OID, 6, 0x67, 0x81, 0x05, 5, 4, 9}; /* 2.23.133.5.4.9 */
    const u8 *end = writer->at;
    put_claims(writer, made->key);
    put_head(writer, CBOR_OCTETS, (u64)(end - writer->at));
    put_octets(writer, made->evidence, made->evidence_size);
    put_head(writer, CBOR_LIST, 2);
    put_head(writer, CBOR_TAG, QUOTE_AND_CLAIMS);
    wrap_extension(writer, end, oid, false);
}

/* What the key is for (RFC 5280, sections 4.2.1.3, 4.2.1.9, 4.2.1.12): signing handshakes at either end, certifying nothing. */
static void put_extensions(struct der_writer *writer, const struct ra_certificate *made) {
    static const u8 usage_oid[] = {DER_OID, 3, 0x55, 0x1d, 15}, usage[] = {DER_BITS, 2, 7, 0x80};
    static const u8 constraints_oid[] = {DER_OID, 3, 0x55, 0x1d, 19}, constraints[] = {DER_SEQUENCE, 0};
    static const u8 extended_oid[] = {DER_OID, 3, 0x55, 0x1d, 37};
    static const u8 extended[] = {DER_SEQUENCE, 20, DER_OID, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1, DER_OID, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2};
    const u8 *end = writer->at, *one;
    put_evidence(writer, made);
    one = writer->at;
    der_put(writer, extended, sizeof extended);
    wrap_extension(writer, one, extended_oid, false);
    one = writer->at;
    der_put(writer, usage, sizeof usage);
    wrap_extension(writer, one, usage_oid, true);
    one = writer->at;
    der_put(writer, constraints, sizeof constraints);
    wrap_extension(writer, one, constraints_oid, true);
    der_wrap(writer, DER_SEQUENCE, end);
    der_wrap(writer, DER_CONTEXT_CONSTRUCTED + 3, end);
}

/* CN=RA-TLS */
static void put_name(struct der_writer *writer) {
    static const u8 name[] = {DER_SEQUENCE, 17, DER_SET, 15, DER_SEQUENCE, 13, DER_OID, 3, 0x55, 4, 3,
                              DER_UTF8, 6, 'R', 'A', '-', 'T', 'L', 'S'};
    der_put(writer, name, sizeof name);
}

static void put_spki(struct der_writer *writer, const struct private_key *key) {
    u8 spki[SPKI_MAX];
    der_put(writer, spki, private_key_spki(key, spki));
}

/* RFC 5280, section 4.1.2.2: a positive number. */
static void put_serial(struct der_writer *writer, const u8 random[SERIAL_SIZE]) {
    u8 serial[SERIAL_SIZE];
    memcpy(serial, random, sizeof serial);
    serial[0] = (u8)((serial[0] & 0x7f) | 0x40);
    der_put_number(writer, serial, sizeof serial);
}

static bool put_signed_part(struct der_writer *writer, const struct ra_certificate *made, const u8 serial[SERIAL_SIZE]) {
    static const u8 version[] = {DER_CONTEXT_CONSTRUCTED, 3, DER_INTEGER, 1, 2};
    const u8 *end = writer->at;
    put_extensions(writer, made);
    put_spki(writer, made->key);
    put_name(writer); /* the subject */
    const u8 *dates = writer->at;
    if (!der_put_time(writer, made->not_after) || !der_put_time(writer, made->not_before)) return false;
    der_wrap(writer, DER_SEQUENCE, dates);
    put_name(writer); /* the issuer */
    key_name_put_scheme(writer, made->key->kind);
    put_serial(writer, serial);
    der_put(writer, version, sizeof version);
    der_wrap(writer, DER_SEQUENCE, end);
    return !writer->full;
}

/* The signature stands behind what it signs, and its size is known only then: first the signed part where the signature may be at
 * its longest, then it is moved up to it. */
static size_t sign(const struct ra_certificate *made, const u8 random[SIGNING_RANDOM], struct der_writer *part, const u8 *part_end, u8 *end) {
    u8 signature[SIGNATURE_MAX];
    const size_t size = (size_t)(part_end - part->at);
    const size_t signature_size = private_key_sign(made->key, random, part->at, size, signature);
    struct der_writer writer = {part->start, end, false};
    der_put(&writer, signature, signature_size);
    der_put_byte(&writer, 0); /* no unused bits */
    der_wrap(&writer, DER_BITS, end);
    key_name_put_scheme(&writer, made->key->kind);
    for (size_t i = 0; i < size; i++) *--writer.at = part->at[size - 1 - i];
    der_wrap(&writer, DER_SEQUENCE, end);
    *part = writer;
    return (size_t)(end - writer.at);
}

size_t ra_certificate_make(const struct ra_certificate *made, const u8 random[SIGNING_RANDOM + 16], u8 *room, size_t size, u8 **to) {
    if (made->key->kind == KEY_RSA || !made->evidence_size || made->evidence_size > RA_EVIDENCE_MAX || size < made->evidence_size + RA_CERTIFICATE_OVERHEAD) return 0;
    u8 *const end = room + size, *const part_end = end - ECDSA_MAX - 2 * SERIAL_SIZE; /* its tags and names */
    struct der_writer writer = {room, part_end, false};
    if (made->not_before > made->not_after || !put_signed_part(&writer, made, random + SIGNING_RANDOM)) return 0;
    const size_t written = sign(made, random, &writer, part_end, end);
    *to = writer.at;
    return writer.full ? 0 : written;
}
