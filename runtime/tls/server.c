/* The server's side of the handshake (section 2). */
#include "bytes.h"
#include "handshake.h"

static void put_extension(struct writer *w, enum tls_extension type, u32 value) {
    put_number(w, type, 2);
    put_number(w, 2, 2);
    put_number(w, value, 2);
}

/* Up to its extensions, which are begun. */
static size_t put_hello(const struct tls_handshake *h, struct writer *w, const u8 *random) {
    put_number(w, TLS_1_2, 2);
    put_bytes(w, random, 32);
    put_number(w, h->session_size, 1);
    put_bytes(w, h->session, h->session_size);
    put_number(w, h->transcript.suite, 2);
    put_number(w, 0, 1);
    const size_t extensions = put_begin(w, 2);
    put_extension(w, EXTENSION_VERSIONS, TLS_1_3);
    return extensions;
}

/* Section 4.1.4: the client is asked for a share of a group that it named. */
static int retry(struct tls *tls, struct tls_handshake *h) {
    h->again = true;
    transcript_fold(&h->transcript);
    struct writer w = flight_begin(h);
    const size_t message = message_begin(&w, MESSAGE_SERVER_HELLO), extensions = put_hello(h, &w, retry_random);
    put_extension(&w, EXTENSION_SHARE, h->group);
    put_end(&w, extensions, 2);
    message_end(h, &w, message);
    return flight_end(tls, h, &w) && flight_disguise(h) ? 0 : ALERT_INTERNAL_ERROR;
}

static bool send_hello(struct tls *tls, struct tls_handshake *h, const u8 *share) {
    u8 random[32];
    h->config->random(random, sizeof random);
    struct writer w = flight_begin(h);
    const size_t message = message_begin(&w, MESSAGE_SERVER_HELLO), extensions = put_hello(h, &w, random);
    put_number(&w, EXTENSION_SHARE, 2);
    const size_t extension = put_begin(&w, 2);
    put_number(&w, h->group, 2);
    put_number(&w, (u32)share_size(h->group), 2);
    put_bytes(&w, share, share_size(h->group));
    put_end(&w, extension, 2);
    put_end(&w, extensions, 2);
    message_end(h, &w, message);
    return flight_end(tls, h, &w) && flight_disguise(h);
}

/* Section 4.3.2. */
static void put_request(struct tls_handshake *h, struct writer *w) {
    const size_t message = message_begin(w, MESSAGE_REQUEST);
    put_number(w, 0, 1);
    const size_t extensions = put_begin(w, 2);
    put_number(w, EXTENSION_SIGNATURES, 2);
    const size_t extension = put_begin(w, 2);
    put_schemes(w);
    put_end(w, extension, 2);
    put_end(w, extensions, 2);
    message_end(h, w, message);
}

/* All that is encrypted, up to Finished. */
static bool send_identity(struct tls *tls, struct tls_handshake *h) {
    struct writer w = flight_begin(h);
    size_t message = message_begin(&w, MESSAGE_EXTENSIONS);
    put_number(&w, 0, 2);
    message_end(h, &w, message);
    if (h->config->wants_client) put_request(h, &w);
    message = message_begin(&w, MESSAGE_CERTIFICATE);
    put_certificate(h, &w);
    message_end(h, &w, message);
    message = message_begin(&w, MESSAGE_VERIFY);
    put_verify(tls, h, &w);
    message_end(h, &w, message);
    message = message_begin(&w, MESSAGE_FINISHED);
    put_finished(h, &w, h->secrets.server);
    message_end(h, &w, message);
    return flight_end(tls, h, &w);
}

/* The client's traffic secret of the handshake is needed once more, for its Finished: `tls->in` has it. */
static bool send_flight(struct tls *tls, struct tls_handshake *h, const u8 *share, const u8 *shared) {
    const u16 suite = h->transcript.suite;
    if (!send_hello(tls, h, share)) return false;
    secrets_of_handshake(&h->secrets, suite, shared, 32, &h->transcript);
    keys_start(&tls->in, suite, h->secrets.client);
    keys_start(&tls->out, suite, h->secrets.server);
    if (!send_identity(tls, h)) return false;
    secrets_of_application(&h->secrets, suite, &h->transcript);
    keys_start(&tls->out, suite, h->secrets.server);
    h->step = h->config->wants_client ? AWAIT_CERTIFICATE : AWAIT_FINISHED;
    return true;
}

static int answer(struct tls *tls, struct tls_handshake *h, const u8 *peer_share) {
    u8 share[SHARE_MOST], shared[32];
    if (!share_make(h, h->group, share)) return ALERT_INTERNAL_ERROR;
    if (!share_agree(h, h->group, peer_share, shared)) return ALERT_ILLEGAL_PARAMETER;
    wipe(h->private_key, sizeof h->private_key);
    const bool sent = send_flight(tls, h, share, shared);
    wipe(shared, sizeof shared);
    return sent ? 0 : ALERT_INTERNAL_ERROR;
}

static int remember(struct tls_handshake *h, const struct offer *offer) {
    h->group = offer->group;
    h->scheme = offer->scheme;
    h->session_size = (u8)offer->session.left;
    memcpy(h->random, offer->random, 32);
    if (h->session_size) memcpy(h->session, offer->session.at, h->session_size);
    transcript_start(&h->transcript, offer->suite);
    return 0;
}

/* Section 4.1.2: the second hello is the first one but for what was asked. */
static int compare(const struct tls_handshake *h, const struct offer *offer) {
    const bool same = memcmp(h->random, offer->random, 32) == 0 && h->session_size == offer->session.left &&
                      (!h->session_size || memcmp(h->session, offer->session.at, h->session_size) == 0);
    return same && h->transcript.suite == offer->suite && h->group == offer->group && offer->share_count == 1
               ? 0
               : ALERT_ILLEGAL_PARAMETER;
}

static int take_hello(struct tls *tls, struct tls_handshake *h, struct message *m) {
    struct offer offer;
    int alert = read_offer(h, m->body, &offer);
    if (!alert) alert = h->again ? compare(h, &offer) : remember(h, &offer);
    if (alert) return alert;
    message_count(h, m);
    const u8 *share = offer.share[h->group == tls_groups[0] ? 0 : 1];
    if (share) return answer(tls, h, share);
    return h->again ? ALERT_ILLEGAL_PARAMETER : retry(tls, h);
}

static int finish(struct tls *tls, struct tls_handshake *h, struct message *m) {
    const int alert = take_finished(h, m, tls->in.secret);
    if (alert) return alert;
    keys_start(&tls->in, h->transcript.suite, h->secrets.client);
    tls->connected = true;
    wipe(&h->secrets, sizeof h->secrets);
    return 0;
}

int server_message(struct tls *tls, struct tls_handshake *h, struct message *m) {
    switch (h->step) {
    case AWAIT_CLIENT_HELLO: return m->type == MESSAGE_CLIENT_HELLO ? take_hello(tls, h, m) : ALERT_UNEXPECTED_MESSAGE;
    case AWAIT_CERTIFICATE: return m->type == MESSAGE_CERTIFICATE ? take_certificate(tls, h, m) : ALERT_UNEXPECTED_MESSAGE;
    case AWAIT_VERIFY: return m->type == MESSAGE_VERIFY ? take_verify(tls, h, m) : ALERT_UNEXPECTED_MESSAGE;
    case AWAIT_FINISHED: return m->type == MESSAGE_FINISHED ? finish(tls, h, m) : ALERT_UNEXPECTED_MESSAGE;
    default: return ALERT_UNEXPECTED_MESSAGE;
    }
}
