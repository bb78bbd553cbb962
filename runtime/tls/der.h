/* DER (ITU-T X.690), read strictly and written. Tags of one byte; lengths in their one shortest form. */
#ifndef CLOISTER_TLS_DER_H
#define CLOISTER_TLS_DER_H

#include "rt.h"

enum der_tag {
    DER_BOOLEAN = 0x01, DER_INTEGER = 0x02, DER_BITS = 0x03, DER_OCTETS = 0x04, DER_NULL = 0x05, DER_OID = 0x06, DER_UTF8 = 0x0c,
    DER_UTC_TIME = 0x17, DER_TIME = 0x18, DER_SEQUENCE = 0x30, DER_SET = 0x31,
    DER_CONTEXT = 0x80, DER_CONTEXT_CONSTRUCTED = 0xa0, /* plus their number */
};

/* What is still to be read. */
struct der {
    const u8 *at, *end;
};

static inline struct der der_of(const u8 *bytes, size_t size) { return (struct der){bytes, bytes + size}; }
static inline bool der_at_end(const struct der *der) { return der->at == der->end; }
static inline size_t der_size(const struct der *der) { return (size_t)(der->end - der->at); }
static inline bool der_next_is(const struct der *der, u32 tag) { return der->at < der->end && *der->at == tag; }

/* The next element, if it has this tag: what is inside of it. False, and nothing consumed, if not. */
NODISCARD bool der_take(struct der *der, u32 tag, struct der *inside);
/* An INTEGER that is not negative: its bytes without the zero that stands before a high bit. */
NODISCARD bool der_take_number(struct der *der, struct der *bytes);
/* Whether the next element is the INTEGER of one byte `value`. */
NODISCARD bool der_take_small(struct der *der, u32 value);
/* A BIT STRING of whole bytes. */
NODISCARD bool der_take_bits(struct der *der, struct der *bytes);
/* Whether the next element is this OBJECT IDENTIFIER, given with its tag and length. */
NODISCARD bool der_take_oid(struct der *der, const u8 *oid);
/* UTCTime or GeneralizedTime as RFC 5280, section 4.1.2.5 has them: seconds since 1970. */
NODISCARD bool der_take_time(struct der *der, int64_t *seconds);

/* Written from the end to the beginning, so that each length is known when its turn comes. */
struct der_writer {
    u8 *start, *at; /* what is written stands from `at` on */
    bool full;      /* there was no room; what stands there is worthless */
};

static inline struct der_writer der_write_to(u8 *room, size_t size) { return (struct der_writer){room, room + size, false}; }
void der_put(struct der_writer *writer, const void *bytes, size_t size);
void der_put_byte(struct der_writer *writer, u32 byte);
/* Tag and length before everything from `at` up to `end`, where `at` was before its inside was written. */
void der_wrap(struct der_writer *writer, u32 tag, const u8 *end);
/* An INTEGER of big-endian bytes, zeros before it left out. */
void der_put_number(struct der_writer *writer, const u8 *bytes, size_t size);
/* False if the seconds are no date from 1970 to 9999. */
NODISCARD bool der_put_time(struct der_writer *writer, int64_t seconds);

#endif
