/* The driver's commands about keys and certificates, and AES-GCM. */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "driver.h"
#include "ra_certificate.h"
#include "x509.h"

#include "../volume/aes_gcm.h"

static u64 number_of(const struct argument *a) {
    u64 number = 0;
    for (size_t i = 0; i < a->size; i++) number = number << 8 | a->bytes[i];
    return number;
}

static void print_number(u64 number) {
    const u64 turned = __builtin_bswap64(number);
    print_bytes((const u8 *)&turned, sizeof turned);
}

/* key of 16 or 32 bytes, nonce, additional data, text: the sealed text, the tag, whether it opens again, and what comes out */
void do_gcm(struct argument *a) {
    struct gcm gcm;
    u8 tag[GCM_TAG];
    if (a[0].size == 16) gcm_init_128(&gcm, a[0].bytes);
    else gcm_init(&gcm, a[0].bytes);
    gcm_seal(&gcm, a[1].bytes, a[2].bytes, a[2].size, a[3].bytes, a[3].size, a[3].bytes, tag);
    print_bytes(a[3].bytes, a[3].size);
    print_bytes(tag, sizeof tag);
    print_answer(gcm_open(&gcm, a[1].bytes, a[2].bytes, a[2].size, a[3].bytes, a[3].size, a[3].bytes, tag));
    print_bytes(a[3].bytes, a[3].size);
}

void do_public_key(struct argument *a) {
    struct public_key key;
    const bool read = public_key_read(&key, a[0].bytes, a[0].size);
    print_answer(read);
    if (!read) return;
    print_bytes((const u8 *)&key.kind, 1);
    print_bytes(key.bytes, key.size);
    print_number(key.exponent);
}

/* SubjectPublicKeyInfo, scheme, message, signature */
void do_verify(struct argument *a) {
    struct public_key key;
    const bool read = public_key_read(&key, a[0].bytes, a[0].size);
    print_answer(read);
    print_answer(read && public_key_verify(&key, (u32)number_of(&a[1]), a[2].bytes, a[2].size, a[3].bytes, a[3].size));
}

static bool wiped(const void *memory, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (((const u8 *)memory)[i]) return false;
    return true;
}

/* PKCS #8: whether it is read, whether nothing of it is left if not, its SubjectPublicKeyInfo */
void do_private_key(struct argument *a) {
    struct private_key key;
    u8 spki[SPKI_MAX];
    const bool read = private_key_read(&key, a[0].bytes, a[0].size);
    print_answer(read);
    print_answer(!read && wiped(&key, sizeof key));
    if (read) print_bytes(spki, private_key_spki(&key, spki));
}

/* PKCS #8, SubjectPublicKeyInfo: whether they belong together */
void do_fits(struct argument *a) {
    struct private_key key;
    struct public_key public_key;
    if (!private_key_read(&key, a[0].bytes, a[0].size) || !public_key_read(&public_key, a[1].bytes, a[1].size)) abort();
    print_answer(private_key_is_of(&key, &public_key));
}

/* PKCS #8, random, message: scheme and signature */
void do_sign(struct argument *a) {
    struct private_key key;
    u8 signature[SIGNATURE_MAX];
    if (!private_key_read(&key, a[0].bytes, a[0].size)) abort();
    print_number(private_key_scheme(&key));
    print_bytes(signature, private_key_sign(&key, a[1].bytes, a[2].bytes, a[2].size, signature));
}

void do_x509(struct argument *a) {
    struct x509 certificate;
    u8 pin[SHA256_SIZE];
    const bool read = x509_read(&certificate, a[0].bytes, a[0].size);
    print_answer(read);
    if (!read) return;
    x509_pin(&certificate, pin);
    print_bytes(certificate.spki, certificate.spki_size);
    print_bytes(pin, sizeof pin);
    print_number((u64)certificate.not_before);
    print_number((u64)certificate.not_after);
    print_bytes(certificate.key.bytes, certificate.key.size);
}

void do_ra_report(struct argument *a) {
    struct private_key key;
    u8 report[RA_REPORT_DATA];
    if (!private_key_make(&key, a[0].bytes)) abort();
    ra_report_data(&key, report);
    print_bytes(report, sizeof report);
}

/* key, random, evidence, dates, how much less room than what is enough */
void do_ra_certificate(struct argument *a) {
    struct private_key key;
    const size_t room = a[2].size + RA_CERTIFICATE_OVERHEAD - number_of(&a[4]);
    u8 *bytes = malloc(room), *at = bytes;
    const struct argument from = {a[3].bytes, 8}, until = {a[3].bytes + 8, 8};
    if (!private_key_make(&key, a[0].bytes)) abort();
    const struct ra_certificate made = {
        .key = &key, .evidence = a[2].bytes, .evidence_size = a[2].size,
        .not_before = (int64_t)number_of(&from), .not_after = (int64_t)number_of(&until),
    };
    const size_t size = ra_certificate_make(&made, a[1].bytes, bytes, room, &at);
    print_bytes(at, size);
    free(bytes);
}
