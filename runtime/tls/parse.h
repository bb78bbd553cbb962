/* Reading and writing what RFC 8446, section 3 describes, within bounds. A reader that was asked for more than there is, is `bad` and
 * gives zeros from then on; a writer without room is `full`. So only the end must be checked. */
#ifndef CLOISTER_TLS_PARSE_H
#define CLOISTER_TLS_PARSE_H

#include "rt.h"

struct reader {
    const u8 *at;
    size_t left;
    bool bad;
};

static inline struct reader reader_of(const u8 *bytes, size_t size) { return (struct reader){bytes, size, false}; }

static inline const u8 *take(struct reader *r, size_t size) {
    if (size > r->left) {
        r->bad = true;
        r->left = 0;
        return NULL;
    }
    const u8 *bytes = r->at;
    r->at += size;
    r->left -= size;
    return bytes;
}

/* Of 1 to 4 bytes, the highest first. */
static inline u32 take_number(struct reader *r, size_t size) {
    const u8 *bytes = take(r, size);
    u32 value = 0;
    for (size_t i = 0; bytes && i < size; i++) value = value << 8 | bytes[i];
    return value;
}

/* What a length of `size` bytes announces, as a reader of its own. */
static inline struct reader take_vector(struct reader *r, size_t size) {
    const size_t length = take_number(r, size);
    const u8 *bytes = take(r, length);
    return (struct reader){bytes, bytes ? length : 0, r->bad};
}

static inline bool is_done(const struct reader *r) { return !r->bad && !r->left; }

struct writer {
    u8 *start;
    size_t used, room;
    bool full;
};

static inline struct writer writer_of(u8 *start, size_t room) { return (struct writer){start, 0, room, false}; }

static inline u8 *put_room(struct writer *w, size_t size) {
    if (w->full || size > w->room - w->used) {
        w->full = true;
        return NULL;
    }
    w->used += size;
    return w->start + w->used - size;
}

static inline void put_bytes(struct writer *w, const void *bytes, size_t size) {
    u8 *to = put_room(w, size);
    if (to && size) memcpy(to, bytes, size);
}

static inline void put_number(struct writer *w, u32 value, size_t size) {
    u8 *to = put_room(w, size);
    for (size_t i = 0; to && i < size; i++) to[i] = (u8)(value >> 8 * (size - 1 - i));
}

/* A length of `size` bytes, which put_end fills in: it is given what put_begin returned. */
static inline size_t put_begin(struct writer *w, size_t size) {
    put_number(w, 0, size);
    return w->used;
}

static inline void put_end(struct writer *w, size_t begun, size_t size) {
    if (w->full) return;
    const size_t length = w->used - begun;
    if (length >> 8 * size) w->full = true;
    for (size_t i = 0; i < size; i++) w->start[begun - size + i] = (u8)(length >> 8 * (size - 1 - i));
}

#endif
