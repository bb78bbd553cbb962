#include "bytes.h"
#include "handshake.h"

enum { IDLE_MOST = 256, UPDATE_NOT_REQUESTED = 0, UPDATE_REQUESTED = 1, WARNING = 1, FATAL = 2 };

static bool chain_is_good(const struct tls_config *config) {
    const u8 *at = config->chain;
    size_t left = config->chain_size;
    if (!config->key) return !config->is_server && !left;
    if (!left || left > TLS_CHAIN_MOST) return false;
    while (left) {
        if (left < 4 || !load32(at) || load32(at) > left - 4) return false;
        const size_t size = 4 + (size_t)load32(at);
        at += size, left -= size;
    }
    return true;
}

static bool is_usable(const struct tls_config *config) {
    if (!config->random || !chain_is_good(config)) return false;
    if (config->requires_client && !config->wants_client) return false;
    if (config->server_name && strlen(config->server_name) > TLS_NAME_MOST) return false;
    if (config->is_server) return config->pin_count || !config->wants_client;
    return config->pin_count || config->unsafe_any_peer;
}

bool tls_start(struct tls *tls, struct tls_handshake *h, const struct tls_config *config) {
    memset(tls, 0, sizeof *tls);
    memset(h, 0, sizeof *h);
    if (!is_usable(config)) return false;
    tls->is_server = config->is_server;
    h->config = config;
    h->step = AWAIT_CLIENT_HELLO;
    return tls->is_server || client_start(h);
}

static void reply(struct tls *tls, enum tls_content type, const u8 *content, size_t size) {
    u8 *record = tls->reply + tls->reply_size;
    if (tls->reply_size + size + TLS_OVERHEAD > sizeof tls->reply) return;
    memcpy(record + TLS_HEADER, content, size);
    tls->reply_size += (u32)(tls->out.suite ? record_seal(&tls->out, type, record, size) : record_plain(type, record, size));
}

/* Nothing that was learned may be used any more. */
static enum tls_event fail(struct tls *tls, int alert) {
    const u8 content[2] = {FATAL, (u8)alert};
    reply(tls, CONTENT_ALERT, content, sizeof content);
    tls->broken = true;
    tls->alert = (u8)alert;
    wipe(&tls->in, sizeof tls->in);
    wipe(&tls->out, sizeof tls->out);
    return TLS_BROKEN;
}

/* Section 6. An unencrypted one in an encrypted connection ends it too: anybody can end a connection. */
static enum tls_event take_alert(struct tls *tls, const u8 *content, size_t size) {
    if (size != 2) return fail(tls, ALERT_DECODE_ERROR);
    if (content[1] == ALERT_USER_CANCELED && ++tls->idle < IDLE_MOST) return TLS_MORE;
    tls->from_peer = true;
    tls->alert = content[1];
    if (content[1] == ALERT_CLOSE && tls->connected) {
        tls->ended = true;
        return TLS_END;
    }
    tls->broken = true;
    wipe(&tls->in, sizeof tls->in);
    wipe(&tls->out, sizeof tls->out);
    return TLS_BROKEN;
}

/* Section 5.1: what changes keys is the last in its record. */
static bool changes_keys(u8 type) {
    return type == MESSAGE_CLIENT_HELLO || type == MESSAGE_SERVER_HELLO || type == MESSAGE_FINISHED;
}

static int take_messages(struct tls *tls, struct tls_handshake *h) {
    size_t at = 0;
    int alert = 0;
    while (!alert && h->in_size - at >= MESSAGE_HEAD) {
        const u8 *head = h->in + at;
        const size_t size = MESSAGE_HEAD + ((size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3]);
        if (size > TLS_MESSAGE_MOST) return ALERT_DECODE_ERROR;
        if (size > h->in_size - at) break;
        struct message m = {head[0], reader_of(head + MESSAGE_HEAD, size - MESSAGE_HEAD), head, size};
        at += size;
        if (changes_keys(m.type) && at != h->in_size) return ALERT_UNEXPECTED_MESSAGE;
        alert = tls->is_server ? server_message(tls, h, &m) : client_message(tls, h, &m);
    }
    for (size_t i = at; i < h->in_size; i++) h->in[i - at] = h->in[i];
    h->in_size -= (u32)at;
    return alert;
}

static enum tls_event take_handshake(struct tls *tls, struct tls_handshake *h, const u8 *content, size_t size) {
    if (!size || size > TLS_MESSAGE_MOST - h->in_size) return fail(tls, size ? ALERT_DECODE_ERROR : ALERT_UNEXPECTED_MESSAGE);
    memcpy(h->in + h->in_size, content, size);
    h->in_size += (u32)size;
    const int alert = take_messages(tls, h);
    return alert ? fail(tls, alert) : TLS_MORE;
}

void tls_update(struct tls *tls) {
    static const u8 update[MESSAGE_HEAD + 1] = {MESSAGE_KEY_UPDATE, 0, 0, 1, UPDATE_NOT_REQUESTED};
    if (!tls->connected || tls->closed || tls->broken || tls->reply_size) return;
    reply(tls, CONTENT_HANDSHAKE, update, sizeof update);
    keys_next(&tls->out);
}

/* Section 4.6.3. One answer is enough for several requests: while one waits to be sent, there is none. */
static int key_update(struct tls *tls, u8 request, bool is_last) {
    if (request > UPDATE_REQUESTED) return ALERT_ILLEGAL_PARAMETER;
    if (!is_last) return ALERT_UNEXPECTED_MESSAGE;
    keys_next(&tls->in);
    if (request == UPDATE_REQUESTED) tls_update(tls);
    return 0;
}

/* Behind the handshake: tickets, which a client ignores, and KeyUpdate. */
static enum tls_event take_later(struct tls *tls, const u8 *content, size_t size) {
    if (!size) return fail(tls, ALERT_UNEXPECTED_MESSAGE);
    while (size) {
        if (tls->skip) {
            const u32 piece = (u32)min_u64(tls->skip, size);
            tls->skip -= piece, content += piece, size -= piece;
            continue;
        }
        tls->post[tls->post_size++] = *content++;
        size--;
        const u8 *head = tls->post;
        const u32 length = (u32)head[1] << 16 | (u32)head[2] << 8 | head[3];
        if (tls->post_size < MESSAGE_HEAD) continue;
        if (head[0] == MESSAGE_TICKET && !tls->is_server && length) {
            tls->skip = length;
        } else if (head[0] == MESSAGE_KEY_UPDATE && length == 1) {
            if (tls->post_size == MESSAGE_HEAD) continue;
            const int alert = key_update(tls, head[4], !size);
            if (alert) return fail(tls, alert);
        } else {
            return fail(tls, ALERT_UNEXPECTED_MESSAGE);
        }
        tls->post_size = 0;
    }
    return TLS_MORE;
}

/* Section D.4: before the end of the handshake it means nothing, later it is an error. */
static bool is_disguise(const struct tls *tls, const struct tls_handshake *h, const u8 *record, size_t size) {
    return record[0] == CONTENT_CHANGE_CIPHER && !tls->connected && size == TLS_HEADER + 1 && record[TLS_HEADER] == 1 &&
           (h->step != AWAIT_CLIENT_HELLO || h->again) && !h->in_size;
}

static enum tls_event take_content(struct tls *tls, struct tls_handshake *h, enum tls_content type, u8 *content, size_t size) {
    const bool halfway = tls->connected ? tls->skip || tls->post_size : h->in_size > 0;
    if (halfway && type != CONTENT_HANDSHAKE) return fail(tls, ALERT_UNEXPECTED_MESSAGE);
    switch (type) {
    case CONTENT_ALERT: return take_alert(tls, content, size);
    case CONTENT_HANDSHAKE: return tls->connected ? take_later(tls, content, size) : take_handshake(tls, h, content, size);
    case CONTENT_DATA: return tls->connected ? size ? TLS_DATA : TLS_MORE : fail(tls, ALERT_UNEXPECTED_MESSAGE);
    default: return fail(tls, ALERT_UNEXPECTED_MESSAGE);
    }
}

enum tls_event tls_receive(struct tls *tls, struct tls_handshake *h, u8 *record, size_t size, u8 **plain, size_t *plain_size) {
    enum tls_content type = 0;
    if (tls->broken) return TLS_BROKEN;
    if (tls->ended) return TLS_END;
    if (size < TLS_HEADER || tls_record_size(record) != size) return fail(tls, ALERT_DECODE_ERROR);
    if (is_disguise(tls, h, record, size)) return ++tls->idle < IDLE_MOST ? TLS_MORE : fail(tls, ALERT_UNEXPECTED_MESSAGE);
    if (record[0] == CONTENT_ALERT && tls->in.suite && !tls->connected && size == TLS_HEADER + 2)
        return take_alert(tls, record + TLS_HEADER, 2); /* of a client that could not follow the server to encryption */
    const int alert = record_open(&tls->in, record, size, &type, plain_size);
    if (alert) return fail(tls, alert);
    *plain = record + TLS_HEADER;
    const enum tls_event event = take_content(tls, h, type, *plain, *plain_size);
    tls->idle = event == TLS_DATA ? 0 : tls->idle + 1;
    return event == TLS_MORE && tls->idle > IDLE_MOST ? fail(tls, ALERT_UNEXPECTED_MESSAGE) : event;
}

size_t tls_seal(struct tls *tls, u8 *record, size_t size) {
    if (!tls->connected || tls->closed || tls->broken || !size || size > TLS_PLAIN_MOST) return 0;
    return record_seal(&tls->out, CONTENT_DATA, record, size);
}

void tls_close(struct tls *tls) {
    static const u8 content[2] = {WARNING, ALERT_CLOSE};
    if (tls->closed || tls->broken) return;
    tls->closed = true;
    reply(tls, CONTENT_ALERT, content, sizeof content);
}

bool tls_stream_ended(const struct tls *tls) { return tls->ended; }
