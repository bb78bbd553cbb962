/* The client's side of the handshake (section 2). */
#include "client.h"

#include "bytes.h"

bool client_start(struct tls_handshake *h) {
    const struct reader nothing = {0};
    h->config->random(h->random, sizeof h->random);
    h->config->random(h->session, sizeof h->session);
    h->session_size = sizeof h->session;
    h->group = tls_groups[0];
    struct writer w = writer_of(h->hello, sizeof h->hello), record = flight_begin(h);
    if (!client_hello(h, &w, &nothing)) return false;
    h->hello_size = (u32)w.used;
    put_bytes(&record, h->hello, h->hello_size);
    if (record.full) return false;
    h->out_size += (u32)record_plain(CONTENT_HANDSHAKE, h->out + h->out_size, record.used);
    h->out[2] = 1; /* section 5.1: some middleboxes want the first record to look like an even older version's */
    h->step = AWAIT_SERVER_HELLO;
    return true;
}

static int again(struct tls *tls, struct tls_handshake *h, const struct choice *choice) {
    h->again = true;
    if (choice->group) h->group = choice->group;
    if (!flight_disguise(h)) return ALERT_INTERNAL_ERROR;
    struct writer w = flight_begin(h);
    if (w.full || !client_hello(h, &w, &choice->cookie)) return ALERT_INTERNAL_ERROR;
    transcript_add(&h->transcript, w.start, w.used);
    return flight_end(tls, h, &w) ? 0 : ALERT_INTERNAL_ERROR;
}

static int agree(struct tls *tls, struct tls_handshake *h, const struct choice *choice) {
    u8 shared[32];
    if (!share_agree(h, h->group, choice->share, shared)) return ALERT_ILLEGAL_PARAMETER;
    wipe(h->private_key, sizeof h->private_key);
    secrets_of_handshake(&h->secrets, choice->suite, shared, sizeof shared, &h->transcript);
    wipe(shared, sizeof shared);
    keys_start(&tls->in, choice->suite, h->secrets.server);
    keys_start(&tls->out, choice->suite, h->secrets.client);
    h->step = AWAIT_EXTENSIONS;
    return 0;
}

static int take_hello(struct tls *tls, struct tls_handshake *h, struct message *m) {
    struct choice choice;
    const int alert = client_choice(h, m->body, &choice);
    if (alert) return alert;
    if (!h->again) {
        transcript_start(&h->transcript, choice.suite);
        transcript_add(&h->transcript, h->hello, h->hello_size);
        if (choice.retry) transcript_fold(&h->transcript);
    }
    message_count(h, m);
    return choice.retry ? again(tls, h, &choice) : agree(tls, h, &choice);
}

/* Section 4.3.1: of what was offered, only these two may be answered here. */
static int take_extensions(struct tls_handshake *h, struct message *m) {
    struct extensions list = extensions_of(&m->body);
    struct reader one;
    u16 type = 0;
    int alert;
    const bool named = h->config->server_name && *h->config->server_name;
    while (next_extension(&list, &type, &one, &alert))
        if (type != EXTENSION_GROUPS && (type != EXTENSION_SERVER_NAME || !named)) return ALERT_UNSUPPORTED_EXTENSION;
    if (alert || !is_done(&m->body)) return alert ? alert : ALERT_DECODE_ERROR;
    message_count(h, m);
    h->step = AWAIT_REQUEST_OR_CERTIFICATE;
    return 0;
}

/* What is asked for in other extensions (authorities, names) does not matter: there is one certificate, or none. */
static int take_request(struct tls_handshake *h, struct message *m) {
    const struct reader context = take_vector(&m->body, 1);
    struct extensions list = extensions_of(&m->body);
    struct reader one, schemes = {0};
    u16 type = 0;
    int alert;
    if (context.left) return ALERT_ILLEGAL_PARAMETER;
    while (next_extension(&list, &type, &one, &alert)) {
        if (type != EXTENSION_SIGNATURES) continue;
        schemes = take_vector(&one, 2);
        if (!is_done(&one) || !schemes.left || schemes.left % 2) return ALERT_DECODE_ERROR;
    }
    if (alert || !is_done(&m->body)) return alert ? alert : ALERT_DECODE_ERROR;
    if (!schemes.left) return ALERT_MISSING_EXTENSION;
    const u16 own = h->config->key ? (u16)private_key_scheme(h->config->key) : 0;
    h->scheme = own && scheme_is_listed(schemes, own) ? own : 0;
    h->asked = true;
    message_count(h, m);
    h->step = AWAIT_CERTIFICATE;
    return 0;
}

static bool send_identity(struct tls *tls, struct tls_handshake *h) {
    if (!flight_disguise(h)) return false;
    struct writer w = flight_begin(h);
    size_t message;
    if (h->asked) {
        message = message_begin(&w, MESSAGE_CERTIFICATE);
        put_certificate(h, &w);
        message_end(h, &w, message);
    }
    if (h->asked && h->scheme) {
        message = message_begin(&w, MESSAGE_VERIFY);
        put_verify(tls, h, &w);
        message_end(h, &w, message);
    }
    message = message_begin(&w, MESSAGE_FINISHED);
    put_finished(h, &w, tls->out.secret);
    message_end(h, &w, message);
    return flight_end(tls, h, &w);
}

static int finish(struct tls *tls, struct tls_handshake *h, struct message *m) {
    const u16 suite = h->transcript.suite;
    const int alert = take_finished(h, m, h->secrets.server);
    if (alert) return alert;
    secrets_of_application(&h->secrets, suite, &h->transcript);
    if (!send_identity(tls, h)) return ALERT_INTERNAL_ERROR;
    keys_start(&tls->in, suite, h->secrets.server);
    keys_start(&tls->out, suite, h->secrets.client);
    tls->connected = true;
    wipe(&h->secrets, sizeof h->secrets);
    return 0;
}

int client_message(struct tls *tls, struct tls_handshake *h, struct message *m) {
    switch (h->step) {
    case AWAIT_SERVER_HELLO: return m->type == MESSAGE_SERVER_HELLO ? take_hello(tls, h, m) : ALERT_UNEXPECTED_MESSAGE;
    case AWAIT_EXTENSIONS: return m->type == MESSAGE_EXTENSIONS ? take_extensions(h, m) : ALERT_UNEXPECTED_MESSAGE;
    case AWAIT_REQUEST_OR_CERTIFICATE:
        if (m->type == MESSAGE_REQUEST) return take_request(h, m);
        return m->type == MESSAGE_CERTIFICATE ? take_certificate(tls, h, m) : ALERT_UNEXPECTED_MESSAGE;
    case AWAIT_CERTIFICATE: return m->type == MESSAGE_CERTIFICATE ? take_certificate(tls, h, m) : ALERT_UNEXPECTED_MESSAGE;
    case AWAIT_VERIFY: return m->type == MESSAGE_VERIFY ? take_verify(tls, h, m) : ALERT_UNEXPECTED_MESSAGE;
    case AWAIT_FINISHED: return m->type == MESSAGE_FINISHED ? finish(tls, h, m) : ALERT_UNEXPECTED_MESSAGE;
    default: return ALERT_UNEXPECTED_MESSAGE;
    }
}
