/* What of the policy concerns a port or an address, and what the engine must know for it. */
#include "attested.h"
#include "fail.h"
#include "socket.h"
#include "socket_host.h"

/* Two configurations, of which `current` is for new connections: evidence is renewed while handshakes use the older one. */
struct identity {
    bool ready, usable;
    u32 current;
    struct private_key key;
    struct tls_config config[2];
    char name[TLS_NAME_MOST + 1];
};

static struct identity listening[POLICY_PORTS_MOST] BEHIND, connecting[POLICY_PORTS_MOST] BEHIND;

static void random_bytes(u8 *to, size_t size) {
    for (size_t done = 0; done < size;) {
        const long n = SYS3(__NR_getrandom, to + done, size - done, 0);
        if (!failed(n)) done += (size_t)n;
    }
}

const struct shield_listen *socket_listen_entry(u32 port) {
    for (u32 i = 0; i < policy.listen_count; i++)
        if (policy.listen[i].port == port) return &policy.listen[i];
    return NULL;
}

static bool is_host(const struct text *text, const struct address *address) {
    u8 host[16];
    return !text->size || (host_read(text->bytes, text->size, host) && !memcmp(host, address->host, sizeof host));
}

const struct shield_connect *socket_connect_entry(const struct address *address) {
    for (u32 i = 0; i < policy.connect_count; i++)
        if (policy.connect[i].port == address->port && is_host(&policy.connect[i].host, address)) return &policy.connect[i];
    return NULL;
}

/* struct sockaddr_in, struct sockaddr_in6. */
bool socket_address_read(struct address *address, const u8 *bytes, u64 size) {
    static const u8 mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (size < 2) return false;
    address->family = (u16)(bytes[0] | bytes[1] << 8);
    if (address->family == FAMILY_IPV4 && size >= 16) {
        memcpy(address->host, mapped, sizeof mapped);
        memcpy(address->host + sizeof mapped, bytes + 4, 4);
    } else if (address->family == FAMILY_IPV6 && size >= 24) {
        memcpy(address->host, bytes + 8, 16);
    } else {
        return false;
    }
    address->port = (u16)(bytes[2] << 8 | bytes[3]);
    return true;
}

static void read_key(struct identity *identity, const struct text *certificates, const struct text *key) {
    struct tls_config *config = &identity->config[0];
    identity->usable = !key->size || private_key_read(&identity->key, key->bytes, key->size);
    config->chain = certificates->bytes;
    config->chain_size = certificates->size;
    config->key = key->size && identity->usable ? &identity->key : NULL;
    config->random = random_bytes;
}

static void set_pins(struct tls_config *config, const struct text *pins) {
    config->pins = pins->bytes;
    config->pin_count = pins->size / PIN_SIZE;
}

/* The enclave's own key and certificate, whichever are new enough. Handshakes that have begun go on with what they began with. */
static bool show_evidence(struct identity *identity) {
    const struct attested *attested;
    if (failed(attested_now(&attested))) return false;
    if (identity->config[identity->current].key == &attested->key) return true;
    struct tls_config *next = &identity->config[1 - identity->current];
    *next = identity->config[identity->current];
    next->key = &attested->key;
    next->chain = attested->chain;
    next->chain_size = attested->chain_size;
    identity->current = 1 - identity->current;
    return true;
}

/* With the lock of `state`, which keeps two threads from it. */
static const struct tls_config *ready(struct identity *identity, u32 protocol) {
    identity->ready = true;
    if (!identity->usable || (protocol == PROTOCOL_RA_TLS && !show_evidence(identity))) return NULL;
    return &identity->config[identity->current];
}

static void read_server(struct identity *identity, const struct shield_listen *entry) {
    struct tls_config *config = &identity->config[0];
    read_key(identity, &entry->certificates, &entry->key);
    set_pins(config, &entry->clients);
    config->is_server = true;
    config->requires_client = entry->flags & LISTEN_CLIENTS_NAMED;
    config->wants_client = config->requires_client || entry->clients.size;
}

const struct tls_config *socket_server_config(const struct shield_listen *entry) {
    struct identity *identity = &listening[entry - policy.listen];
    struct lock_guard lock;
    const bool taken = socket_lock_state(&lock);
    if (!identity->ready) read_server(identity, entry);
    const struct tls_config *config = ready(identity, entry->protocol);
    socket_unlock_state(&lock, taken);
    return config;
}

static void read_client(struct identity *identity, const struct shield_connect *entry) {
    struct tls_config *config = &identity->config[0];
    read_key(identity, &entry->certificates, &entry->key);
    set_pins(config, &entry->pins);
    config->unsafe_any_peer = !entry->pins.size; /* the policy has asked for that by an unsafe_ key */
    if (entry->server_name.size > TLS_NAME_MOST) identity->usable = false;
    else memcpy(identity->name, entry->server_name.bytes, entry->server_name.size);
    config->server_name = identity->name;
}

const struct tls_config *socket_client_config(const struct shield_connect *entry) {
    struct identity *identity = &connecting[entry - policy.connect];
    struct lock_guard lock;
    const bool taken = socket_lock_state(&lock);
    if (!identity->ready) read_client(identity, entry);
    const struct tls_config *config = ready(identity, entry->protocol);
    socket_unlock_state(&lock, taken);
    return config;
}

bool socket_is_client_config(const struct shield_connect *entry, const struct tls_config *config) {
    const struct identity *identity = &connecting[entry - policy.connect];
    return config == &identity->config[0] || config == &identity->config[1];
}

void socket_require_attester(void) {
    bool wanted = false;
    for (u32 i = 0; i < policy.listen_count; i++) wanted |= policy.listen[i].protocol == PROTOCOL_RA_TLS;
    for (u32 i = 0; i < policy.connect_count; i++) wanted |= policy.connect[i].protocol == PROTOCOL_RA_TLS;
    if (wanted && !state.attester[0])
        fail(CLOISTER_EXIT_NOT_PROVISIONED, "ra-tls shows evidence, which only an attester makes, and there is none", 0,
             "give the shield policy to a session, and run with --broker and --session; or write protocol = \"tls\"");
}
