#include "handshake.h"

struct writer flight_begin(struct tls_handshake *h) {
    if (h->out_size + TLS_OVERHEAD > TLS_FLIGHT_MOST) return (struct writer){.full = true};
    return writer_of(h->out + h->out_size + TLS_HEADER, TLS_FLIGHT_MOST - h->out_size - TLS_OVERHEAD);
}

/* One record for all messages of the writer: a flight is no longer than a record may be. */
bool flight_end(struct tls *tls, struct tls_handshake *h, struct writer *w) {
    _Static_assert(TLS_FLIGHT_MOST - TLS_OVERHEAD < TLS_PLAIN_MOST, "a flight is one record");
    if (w->full) return false;
    u8 *record = h->out + h->out_size;
    h->out_size += (u32)(tls->out.suite ? record_seal(&tls->out, CONTENT_HANDSHAKE, record, w->used)
                                        : record_plain(CONTENT_HANDSHAKE, record, w->used));
    return true;
}

/* Section D.4. */
bool flight_disguise(struct tls_handshake *h) {
    if (h->disguised || !h->session_size) return true;
    struct writer w = flight_begin(h);
    put_number(&w, 1, 1);
    if (w.full) return false;
    h->out_size += (u32)record_plain(CONTENT_CHANGE_CIPHER, h->out + h->out_size, w.used);
    h->disguised = true;
    return true;
}

size_t message_begin(struct writer *w, enum tls_message type) {
    put_number(w, type, 1);
    return put_begin(w, 3);
}

void message_end(struct tls_handshake *h, struct writer *w, size_t begun) {
    put_end(w, begun, 3);
    if (!w->full) transcript_add(&h->transcript, w->start + begun - MESSAGE_HEAD, w->used - begun + MESSAGE_HEAD);
}

void message_count(struct tls_handshake *h, const struct message *m) { transcript_add(&h->transcript, m->whole, m->size); }
