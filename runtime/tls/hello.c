/* What both kinds of hello have in common. */
#include "handshake.h"

/* SHA-256 of "HelloRetryRequest" (section 4.1.3). */
const u8 retry_random[32] = {
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
};

bool is_retry(const u8 random[32]) { return memcmp(random, retry_random, sizeof retry_random) == 0; }

bool suite_is_possible(u16 suite) {
    if (suite == TLS_CHACHA20_POLY1305_SHA256) return true;
    return (suite == TLS_AES_128_GCM_SHA256 || suite == TLS_AES_256_GCM_SHA384) && gcm_is_supported();
}

struct extensions extensions_of(struct reader *from) {
    struct extensions list;
    list.rest = take_vector(from, 2);
    list.count = 0;
    return list;
}

/* Section 4.2: none comes twice. */
static bool is_new(struct extensions *list, u16 type) {
    for (u32 i = 0; i < list->count; i++)
        if (list->seen[i] == type) return false;
    if (list->count == EXTENSIONS_MOST) return false;
    list->seen[list->count++] = type;
    return true;
}

bool next_extension(struct extensions *list, u16 *type, struct reader *body, int *alert) {
    *alert = list->rest.bad ? ALERT_DECODE_ERROR : 0;
    if (*alert || !list->rest.left) return false;
    *type = (u16)take_number(&list->rest, 2);
    *body = take_vector(&list->rest, 2);
    if (body->bad) *alert = ALERT_DECODE_ERROR;
    else if (!is_new(list, *type)) *alert = ALERT_ILLEGAL_PARAMETER;
    return !*alert;
}
