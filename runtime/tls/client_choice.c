/* What the server chose (sections 4.1.3 and 4.1.4). Whatever was not offered is refused. */
#include "client.h"

static int take_version(struct reader *body, bool *seen) {
    const u32 version = take_number(body, 2);
    *seen = true;
    if (!is_done(body)) return ALERT_DECODE_ERROR;
    return version == TLS_1_3 ? 0 : ALERT_ILLEGAL_PARAMETER;
}

static int take_share(struct reader *body, struct choice *choice) {
    choice->group = (u16)take_number(body, 2);
    if (!choice->retry) {
        const struct reader key = take_vector(body, 2);
        choice->share = key.at;
        if (!key.bad && key.left != share_size(choice->group)) return ALERT_ILLEGAL_PARAMETER;
    }
    return is_done(body) ? 0 : ALERT_DECODE_ERROR;
}

static int take_cookie(struct reader *body, struct choice *choice) {
    choice->cookie = take_vector(body, 2);
    return is_done(body) && choice->cookie.left ? 0 : ALERT_DECODE_ERROR;
}

static int take_extensions(struct reader *body, struct choice *choice, bool *version) {
    struct extensions list = extensions_of(body);
    struct reader one;
    u16 type = 0;
    int alert;
    while (next_extension(&list, &type, &one, &alert)) {
        if (type == EXTENSION_VERSIONS) alert = take_version(&one, version);
        else if (type == EXTENSION_SHARE) alert = take_share(&one, choice);
        else if (type == EXTENSION_COOKIE && choice->retry) alert = take_cookie(&one, choice);
        else alert = ALERT_UNSUPPORTED_EXTENSION;
        if (alert) return alert;
    }
    return alert;
}

static bool group_is_known(u16 group) { return group == tls_groups[0] || group == tls_groups[1]; }

static int judge(const struct tls_handshake *h, const struct choice *choice) {
    if (choice->retry) {
        if (h->again) return ALERT_UNEXPECTED_MESSAGE;
        if (!choice->group && !choice->cookie.left) return ALERT_ILLEGAL_PARAMETER; /* nothing would change */
        return !choice->group || (group_is_known(choice->group) && choice->group != h->group) ? 0 : ALERT_ILLEGAL_PARAMETER;
    }
    if (!choice->share) return ALERT_MISSING_EXTENSION;
    if (h->again && choice->suite != h->transcript.suite) return ALERT_ILLEGAL_PARAMETER;
    return choice->group == h->group ? 0 : ALERT_ILLEGAL_PARAMETER;
}

int client_choice(const struct tls_handshake *h, struct reader body, struct choice *choice) {
    *choice = (struct choice){0};
    bool version = false;
    const u32 legacy = take_number(&body, 2);
    const u8 *random = take(&body, 32);
    const struct reader session = take_vector(&body, 1);
    choice->suite = (u16)take_number(&body, 2);
    const u32 compression = take_number(&body, 1);
    if (body.bad) return ALERT_DECODE_ERROR;
    if (legacy != TLS_1_2 || !body.left) return ALERT_PROTOCOL_VERSION;
    choice->retry = is_retry(random);
    const int alert = take_extensions(&body, choice, &version);
    if (alert || !is_done(&body)) return alert && (version || alert == ALERT_DECODE_ERROR) ? alert : ALERT_PROTOCOL_VERSION;
    if (!version) return ALERT_PROTOCOL_VERSION; /* an older one: whoever asked for it */
    if (session.left != h->session_size || memcmp(session.at, h->session, h->session_size) != 0) return ALERT_ILLEGAL_PARAMETER;
    if (!suite_is_possible(choice->suite) || compression) return ALERT_ILLEGAL_PARAMETER;
    return judge(h, choice);
}
