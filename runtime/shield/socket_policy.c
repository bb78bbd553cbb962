/* What of the policy concerns a port or an address, and what the engine must know for it. */
#include "socket.h"
#include "socket_host.h"

struct identity {
    bool ready, usable;
    struct private_key key;
    struct tls_config config;
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
    identity->usable = !key->size || private_key_read(&identity->key, key->bytes, key->size);
    identity->config.chain = certificates->bytes;
    identity->config.chain_size = certificates->size;
    identity->config.key = key->size && identity->usable ? &identity->key : NULL;
    identity->config.random = random_bytes;
}

static void set_pins(struct identity *identity, const struct text *pins) {
    identity->config.pins = pins->bytes;
    identity->config.pin_count = pins->size / PIN_SIZE;
}

/* Read at the first use; the lock of `state` keeps two threads from it. */
static const struct tls_config *finish(struct identity *identity, struct lock_guard *lock) {
    identity->ready = true;
    lock_give(lock);
    return identity->usable ? &identity->config : NULL;
}

const struct tls_config *socket_server_config(const struct shield_listen *entry) {
    struct identity *identity = &listening[entry - policy.listen];
    struct lock_guard lock;
    lock_take(&lock, true);
    if (!identity->ready) {
        read_key(identity, &entry->certificates, &entry->key);
        set_pins(identity, &entry->clients);
        identity->config.is_server = true;
        identity->config.requires_client = entry->flags & LISTEN_CLIENTS_NAMED;
        identity->config.wants_client = identity->config.requires_client || entry->clients.size;
    }
    return finish(identity, &lock);
}

const struct tls_config *socket_client_config(const struct shield_connect *entry) {
    struct identity *identity = &connecting[entry - policy.connect];
    struct lock_guard lock;
    lock_take(&lock, true);
    if (!identity->ready) {
        read_key(identity, &entry->certificates, &entry->key);
        set_pins(identity, &entry->pins);
        identity->config.unsafe_any_peer = !entry->pins.size; /* the policy has asked for that by an unsafe_ key */
        if (entry->server_name.size > TLS_NAME_MOST) identity->usable = false;
        else memcpy(identity->name, entry->server_name.bytes, entry->server_name.size);
        identity->config.server_name = identity->name;
    }
    return finish(identity, &lock);
}
