/* The first message of a client (section 4.1.2), and the one that repeats it with what the server asked for. */
#include "client.h"

static void put_name(struct writer *w, const char *name) {
    const size_t size = strlen(name);
    if (!size) return;
    put_number(w, EXTENSION_SERVER_NAME, 2);
    const size_t extension = put_begin(w, 2), list = put_begin(w, 2);
    put_number(w, 0, 1); /* host_name */
    put_number(w, (u32)size, 2);
    put_bytes(w, name, size);
    put_end(w, list, 2);
    put_end(w, extension, 2);
}

static void put_groups(struct writer *w) {
    put_number(w, EXTENSION_GROUPS, 2);
    const size_t extension = put_begin(w, 2), list = put_begin(w, 2);
    for (int i = 0; i < 2; i++) put_number(w, tls_groups[i], 2);
    put_end(w, list, 2);
    put_end(w, extension, 2);
}

static void put_signatures(struct writer *w) {
    put_number(w, EXTENSION_SIGNATURES, 2);
    const size_t extension = put_begin(w, 2);
    put_schemes(w);
    put_end(w, extension, 2);
}

/* Of the certificates behind the first one nothing is read, so that a server may show any. */
static void put_chain_signatures(struct writer *w) {
    static const u16 all[] = {0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x0804,
                                0x0805, 0x0806, 0x0809, 0x080a, 0x080b, 0x0401, 0x0501, 0x0601};
    put_number(w, EXTENSION_CHAIN_SIGNATURES, 2);
    const size_t extension = put_begin(w, 2), list = put_begin(w, 2);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) put_number(w, all[i], 2);
    put_end(w, list, 2);
    put_end(w, extension, 2);
}

static void put_share(struct writer *w, u16 group, const u8 *share) {
    put_number(w, EXTENSION_SHARE, 2);
    const size_t extension = put_begin(w, 2), list = put_begin(w, 2);
    put_number(w, group, 2);
    put_number(w, (u32)share_size(group), 2);
    put_bytes(w, share, share_size(group));
    put_end(w, list, 2);
    put_end(w, extension, 2);
}

static void put_cookie(struct writer *w, const struct reader *cookie) {
    if (!cookie->left) return;
    put_number(w, EXTENSION_COOKIE, 2);
    const size_t extension = put_begin(w, 2);
    put_number(w, (u32)cookie->left, 2);
    put_bytes(w, cookie->at, cookie->left);
    put_end(w, extension, 2);
}

static void put_version(struct writer *w) {
    put_number(w, EXTENSION_VERSIONS, 2);
    put_number(w, 3, 2);
    put_number(w, 2, 1);
    put_number(w, TLS_1_3, 2);
}

static void put_suites(struct writer *w) {
    static const u16 suites[] = {TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256};
    const size_t list = put_begin(w, 2);
    for (size_t i = 0; i < sizeof suites / sizeof suites[0]; i++)
        if (suite_is_possible(suites[i])) put_number(w, suites[i], 2);
    put_end(w, list, 2);
}

bool client_hello(struct tls_handshake *h, struct writer *w, const struct reader *cookie) {
    u8 share[SHARE_MOST];
    if (!share_make(h, h->group, share)) return false;
    const size_t message = message_begin(w, MESSAGE_CLIENT_HELLO);
    put_number(w, TLS_1_2, 2);
    put_bytes(w, h->random, sizeof h->random);
    put_number(w, h->session_size, 1);
    put_bytes(w, h->session, h->session_size);
    put_suites(w);
    put_number(w, 1, 1);
    put_number(w, 0, 1); /* no compression */
    const size_t extensions = put_begin(w, 2);
    put_version(w);
    if (h->config->server_name) put_name(w, h->config->server_name);
    put_groups(w);
    put_signatures(w);
    put_chain_signatures(w);
    put_cookie(w, cookie);
    put_share(w, h->group, share);
    put_end(w, extensions, 2);
    put_end(w, message, 3);
    return !w->full;
}
