/* A ClientHello (section 4.1.2), read strictly, and the best that both sides can. */
#include "handshake.h"

static const u16 suites[] = {TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256};

static bool is_in(struct reader list, u32 value) {
    while (list.left)
        if (take_number(&list, 2) == value) return true;
    return false;
}

/* A list of numbers of two bytes, which is the whole extension. */
static int take_list(struct reader *body, size_t length_size, struct reader *list) {
    *list = take_vector(body, length_size);
    return is_done(body) && list->left && list->left % 2 == 0 ? 0 : ALERT_DECODE_ERROR;
}

static int take_versions(struct reader *body, struct offer *offer) {
    struct reader list;
    const int alert = take_list(body, 1, &list);
    offer->version = !alert && is_in(list, TLS_1_3);
    return alert;
}

static int take_groups(struct reader *body, struct offer *offer) {
    struct reader list;
    const int alert = take_list(body, 2, &list);
    offer->groups = true;
    for (int i = 1; i >= 0 && !alert; i--)
        if (is_in(list, tls_groups[i])) offer->group = tls_groups[i];
    return alert;
}

static int take_signatures(const struct tls_handshake *h, struct reader *body, struct offer *offer) {
    struct reader list;
    const int alert = take_list(body, 2, &list);
    const u16 scheme = (u16)private_key_scheme(h->config->key);
    offer->signatures = true;
    if (!alert && is_in(list, scheme)) offer->scheme = scheme;
    return alert;
}

static int take_share(u32 group, const struct reader *key, struct offer *offer) {
    for (int i = 0; i < 2; i++) {
        if (group != tls_groups[i]) continue;
        if (offer->share[i] || key->left != share_size((u16)group)) return ALERT_ILLEGAL_PARAMETER;
        offer->share[i] = key->at;
    }
    return 0;
}

static int take_shares(struct reader *body, struct offer *offer) {
    struct reader list = take_vector(body, 2);
    offer->shares = true;
    if (!is_done(body)) return ALERT_DECODE_ERROR;
    while (list.left) {
        const u32 group = take_number(&list, 2);
        const struct reader key = take_vector(&list, 2);
        if (list.bad || !key.left) return ALERT_DECODE_ERROR;
        const int alert = take_share(group, &key, offer);
        if (alert) return alert;
        offer->share_count++;
    }
    return 0;
}

static int take_extension(const struct tls_handshake *h, u16 type, struct reader *body, struct offer *offer) {
    switch (type) {
    case EXTENSION_VERSIONS: return take_versions(body, offer);
    case EXTENSION_GROUPS: return take_groups(body, offer);
    case EXTENSION_SIGNATURES: return take_signatures(h, body, offer);
    case EXTENSION_SHARE: return take_shares(body, offer);
    default: return 0; /* names, protocols of the application, tickets: nothing here depends on them */
    }
}

static int take_extensions(const struct tls_handshake *h, struct reader *body, struct offer *offer) {
    struct extensions list = extensions_of(body);
    struct reader one;
    u16 type = 0;
    int alert;
    bool was_psk = false;
    while (next_extension(&list, &type, &one, &alert)) {
        if (was_psk) return ALERT_ILLEGAL_PARAMETER; /* section 4.2.11: nothing comes behind it */
        was_psk = type == EXTENSION_PSK;
        alert = take_extension(h, type, &one, offer);
        if (alert) return alert;
    }
    return alert;
}

static void choose_suite(struct reader list, struct offer *offer) {
    for (size_t i = 0; i < sizeof suites / sizeof suites[0] && !offer->suite; i++)
        if (suite_is_possible(suites[i]) && is_in(list, suites[i])) offer->suite = suites[i];
}

/* A share that was sent is better than a better group: it saves a round trip. */
static void choose_group(struct offer *offer) {
    for (int i = 1; i >= 0; i--)
        if (offer->share[i]) offer->group = tls_groups[i];
}

static int judge(const struct offer *offer) {
    if (!offer->version) return ALERT_PROTOCOL_VERSION;
    if (!offer->groups || !offer->signatures || !offer->shares) return ALERT_MISSING_EXTENSION;
    return offer->suite && offer->group && offer->scheme ? 0 : ALERT_HANDSHAKE_FAILURE;
}

int read_offer(const struct tls_handshake *h, struct reader body, struct offer *offer) {
    *offer = (struct offer){0};
    const u32 version = take_number(&body, 2);
    offer->random = take(&body, 32);
    offer->session = take_vector(&body, 1);
    const struct reader list = take_vector(&body, 2), compression = take_vector(&body, 1);
    if (body.bad || offer->session.left > 32 || list.left % 2 || !list.left) return ALERT_DECODE_ERROR;
    if (version != TLS_1_2 || !body.left) return ALERT_PROTOCOL_VERSION;
    const int alert = take_extensions(h, &body, offer);
    if (alert || !is_done(&body)) return alert ? alert : ALERT_DECODE_ERROR;
    if (offer->version && (compression.left != 1 || *compression.at)) return ALERT_ILLEGAL_PARAMETER;
    choose_suite(list, offer);
    choose_group(offer);
    return judge(offer);
}
