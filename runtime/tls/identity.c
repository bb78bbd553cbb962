/* Certificate, CertificateVerify and Finished (section 4.4), which both sides send. Peers are known by the SHA-256 of their key:
 * who issued a certificate, for which name and until when, is not asked. */
#include "bytes.h"
#include "handshake.h"
#include "x509.h"

enum { SIGNED_PREFIX = 64, SIGNED_MOST = SIGNED_PREFIX + 34 + TLS_HASH_MOST };

static const u16 schemes[] = {
    ECDSA_SECP256R1_SHA256, SIGNED_ED25519, ECDSA_SECP384R1_SHA384, RSA_PSS_RSAE_SHA256, RSA_PSS_RSAE_SHA384, RSA_PSS_RSAE_SHA512,
};

void put_schemes(struct writer *w) {
    const size_t begun = put_begin(w, 2);
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) put_number(w, schemes[i], 2);
    put_end(w, begun, 2);
}

static bool is_offered(u16 scheme) {
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
        if (schemes[i] == scheme) return true;
    return false;
}

bool scheme_is_listed(struct reader list, u16 scheme) {
    while (list.left)
        if (take_number(&list, 2) == scheme) return true;
    return false;
}

/* An empty list if there is no certificate, or the peer could not check what its key signs. */
void put_certificate(const struct tls_handshake *h, struct writer *w) {
    const struct tls_config *config = h->config;
    const u8 *at = config->chain;
    size_t left = h->scheme ? config->chain_size : 0;
    put_number(w, 0, 1);
    const size_t list = put_begin(w, 3);
    while (left >= 4) {
        const size_t size = min_u64(load32(at), left - 4);
        put_number(w, (u32)size, 3);
        put_bytes(w, at + 4, size);
        put_number(w, 0, 2);
        at += 4 + size, left -= 4 + size;
    }
    put_end(w, list, 3);
}

/* Section 4.4.3: 64 spaces, a name, a zero, the hash of what was said so far. */
static size_t signed_text(const struct tls_handshake *h, bool of_server, u8 text[SIGNED_MOST]) {
    static const char server[] = "TLS 1.3, server CertificateVerify", client[] = "TLS 1.3, client CertificateVerify";
    _Static_assert(sizeof server == 34 && sizeof client == 34, "the room for it");
    memset(text, ' ', SIGNED_PREFIX);
    memcpy(text + SIGNED_PREFIX, of_server ? server : client, sizeof server);
    transcript_digest(&h->transcript, text + SIGNED_PREFIX + sizeof server);
    return SIGNED_PREFIX + sizeof server + suite_hash_size(h->transcript.suite);
}

void put_verify(const struct tls *tls, struct tls_handshake *h, struct writer *w) {
    u8 text[SIGNED_MOST], signature[SIGNATURE_MAX], random[SIGNING_RANDOM];
    const size_t size = signed_text(h, tls->is_server, text);
    h->config->random(random, sizeof random);
    const size_t signature_size = private_key_sign(h->config->key, random, text, size, signature);
    wipe(random, sizeof random);
    put_number(w, h->scheme, 2);
    put_number(w, (u32)signature_size, 2);
    put_bytes(w, signature, signature_size);
}

static bool is_pinned(const struct tls_config *config, const struct x509 *certificate) {
    u8 pin[SHA256_SIZE];
    if (config->unsafe_any_peer && !config->is_server) return true;
    x509_pin(certificate, pin);
    for (size_t i = 0; i < config->pin_count; i++)
        if (memcmp(pin, config->pins + i * TLS_PIN, TLS_PIN) == 0) return true;
    return false;
}

/* The first one is the peer's; those behind it vouch for it, which its pin does already. */
static int take_leaf(struct tls_handshake *h, const struct reader *der) {
    struct x509 certificate;
    if (!x509_read(&certificate, der->at, der->left)) return ALERT_UNSUPPORTED_CERTIFICATE;
    if (!is_pinned(h->config, &certificate)) return ALERT_BAD_CERTIFICATE;
    if (certificate.spki_size > TLS_SPKI_MOST) return ALERT_UNSUPPORTED_CERTIFICATE;
    memcpy(h->peer, certificate.spki, certificate.spki_size);
    h->peer_size = (u32)certificate.spki_size;
    h->named = true;
    return 0;
}

static int take_nobody(const struct tls *tls, struct tls_handshake *h) {
    if (!tls->is_server) return ALERT_DECODE_ERROR;
    if (h->config->requires_client) return ALERT_CERTIFICATE_REQUIRED;
    h->step = AWAIT_FINISHED;
    return 0;
}

int take_certificate(const struct tls *tls, struct tls_handshake *h, struct message *m) {
    const struct reader context = take_vector(&m->body, 1);
    struct reader list = take_vector(&m->body, 3);
    if (!is_done(&m->body)) return ALERT_DECODE_ERROR;
    if (context.left) return ALERT_ILLEGAL_PARAMETER;
    message_count(h, m);
    if (!list.left) return take_nobody(tls, h);
    for (bool first = true; list.left; first = false) {
        const struct reader der = take_vector(&list, 3), extensions = take_vector(&list, 2);
        if (list.bad || !der.left) return ALERT_DECODE_ERROR;
        if (extensions.left) return ALERT_UNSUPPORTED_EXTENSION; /* none was asked for */
        const int alert = first ? take_leaf(h, &der) : 0;
        if (alert) return alert;
    }
    h->step = AWAIT_VERIFY;
    return 0;
}

int take_verify(const struct tls *tls, struct tls_handshake *h, struct message *m) {
    u8 text[SIGNED_MOST];
    struct public_key key;
    const u16 scheme = (u16)take_number(&m->body, 2);
    const struct reader signature = take_vector(&m->body, 2);
    if (!is_done(&m->body)) return ALERT_DECODE_ERROR;
    if (!is_offered(scheme)) return ALERT_ILLEGAL_PARAMETER;
    const size_t size = signed_text(h, !tls->is_server, text);
    if (!public_key_read(&key, h->peer, h->peer_size)) return ALERT_INTERNAL_ERROR;
    if (!public_key_verify(&key, scheme, text, size, signature.at, signature.left)) return ALERT_DECRYPT_ERROR;
    message_count(h, m);
    h->step = AWAIT_FINISHED;
    return 0;
}

void put_finished(struct tls_handshake *h, struct writer *w, const u8 *secret) {
    u8 code[TLS_HASH_MOST];
    finished_code(h->transcript.suite, secret, &h->transcript, code);
    put_bytes(w, code, suite_hash_size(h->transcript.suite));
}

int take_finished(struct tls_handshake *h, struct message *m, const u8 *secret) {
    u8 code[TLS_HASH_MOST];
    const size_t size = suite_hash_size(h->transcript.suite);
    if (m->body.left != size) return ALERT_DECODE_ERROR;
    finished_code(h->transcript.suite, secret, &h->transcript, code);
    const bool same = same_secret(code, m->body.at, size);
    wipe(code, sizeof code);
    if (!same) return ALERT_DECRYPT_ERROR;
    message_count(h, m);
    return 0;
}
