#include "schedule.h"

#include "bytes.h"
#include "parse.h"

enum { LABEL_MOST = 2 + 1 + 32 + 1 + TLS_HASH_MOST, MESSAGE_HASH = 254 };

void transcript_start(struct transcript *transcript, u16 suite) {
    transcript->suite = suite;
    if (suite_hash_size(suite) == SHA384_SIZE) sha384_start(&transcript->sha384);
    else sha256_start(&transcript->sha256);
}

void transcript_add(struct transcript *transcript, const void *bytes, size_t size) {
    if (suite_hash_size(transcript->suite) == SHA384_SIZE) sha512_add(&transcript->sha384, bytes, size);
    else sha256_add(&transcript->sha256, bytes, size);
}

void transcript_digest(const struct transcript *transcript, u8 digest[TLS_HASH_MOST]) {
    struct transcript copy = *transcript;
    if (suite_hash_size(copy.suite) == SHA384_SIZE) sha384_finish(&copy.sha384, digest);
    else sha256_finish(&copy.sha256, digest);
}

void transcript_fold(struct transcript *transcript) {
    u8 digest[TLS_HASH_MOST];
    const size_t size = suite_hash_size(transcript->suite);
    transcript_digest(transcript, digest);
    const u8 head[4] = {MESSAGE_HASH, 0, 0, (u8)size};
    transcript_start(transcript, transcript->suite);
    transcript_add(transcript, head, sizeof head);
    transcript_add(transcript, digest, size);
}

struct piece {
    const void *bytes;
    size_t size;
};

/* Of the pieces one after the other. */
static void code_of(u16 suite, const u8 *key, size_t key_size, const struct piece *piece, size_t count, u8 *code) {
    struct hmac hmac;
    struct hmac384 hmac384;
    if (suite_hash_size(suite) == SHA384_SIZE) {
        hmac384_start(&hmac384, key, key_size);
        for (size_t i = 0; i < count; i++) hmac384_add(&hmac384, piece[i].bytes, piece[i].size);
        hmac384_finish(&hmac384, code);
    } else {
        hmac_start(&hmac, key, key_size);
        for (size_t i = 0; i < count; i++) hmac_add(&hmac, piece[i].bytes, piece[i].size);
        hmac_finish(&hmac, code);
    }
}

/* HKDF-Expand (RFC 5869, section 2.3), of a length that one block has always. */
void expand_label(u16 suite, const u8 *secret, const char *label, const u8 *context, size_t context_size, u8 *to, size_t size) {
    u8 info[LABEL_MOST], block[TLS_HASH_MOST];
    static const u8 first = 1;
    struct writer w = writer_of(info, sizeof info);
    put_number(&w, (u32)size, 2);
    const size_t named = put_begin(&w, 1);
    put_bytes(&w, "tls13 ", 6);
    put_bytes(&w, label, strlen(label));
    put_end(&w, named, 1);
    put_number(&w, (u32)context_size, 1);
    put_bytes(&w, context, context_size);
    const struct piece piece[2] = {{info, w.used}, {&first, 1}};
    code_of(suite, secret, suite_hash_size(suite), piece, 2, block);
    memcpy(to, block, size);
    wipe(block, sizeof block);
}

static void derive(u16 suite, const u8 *secret, const char *label, const struct transcript *transcript, u8 *to) {
    u8 digest[TLS_HASH_MOST];
    transcript_digest(transcript, digest);
    expand_label(suite, secret, label, digest, suite_hash_size(suite), to, suite_hash_size(suite));
}

/* From one secret of the schedule to the next one: derived, then mixed with what is new. */
static void advance(u16 suite, u8 *secret, const u8 *input, size_t size) {
    struct transcript empty;
    u8 salt[TLS_HASH_MOST];
    const struct piece piece = {input, size};
    transcript_start(&empty, suite);
    derive(suite, secret, "derived", &empty, salt);
    code_of(suite, salt, suite_hash_size(suite), &piece, 1, secret);
    wipe(salt, sizeof salt);
}

void secrets_of_handshake(struct tls_secrets *secrets, u16 suite, const u8 *shared, size_t shared_size,
                          const struct transcript *transcript) {
    static const u8 zeros[TLS_HASH_MOST];
    const struct piece nothing = {zeros, suite_hash_size(suite)};
    code_of(suite, zeros, suite_hash_size(suite), &nothing, 1, secrets->current);
    advance(suite, secrets->current, shared, shared_size);
    derive(suite, secrets->current, "c hs traffic", transcript, secrets->client);
    derive(suite, secrets->current, "s hs traffic", transcript, secrets->server);
}

void secrets_of_application(struct tls_secrets *secrets, u16 suite, const struct transcript *transcript) {
    static const u8 zeros[TLS_HASH_MOST];
    advance(suite, secrets->current, zeros, suite_hash_size(suite));
    derive(suite, secrets->current, "c ap traffic", transcript, secrets->client);
    derive(suite, secrets->current, "s ap traffic", transcript, secrets->server);
}

void finished_code(u16 suite, const u8 *secret, const struct transcript *transcript, u8 code[TLS_HASH_MOST]) {
    u8 key[TLS_HASH_MOST], digest[TLS_HASH_MOST];
    const size_t size = suite_hash_size(suite);
    expand_label(suite, secret, "finished", NULL, 0, key, size);
    transcript_digest(transcript, digest);
    const struct piece piece = {digest, size};
    code_of(suite, key, size, &piece, 1, code);
    wipe(key, sizeof key);
}
