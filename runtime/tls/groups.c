#include "exchange.h"
#include "handshake.h"
#include "x25519.h"

const u16 tls_groups[2] = {GROUP_X25519, GROUP_P256};

size_t share_size(u16 group) { return group == GROUP_X25519 ? X25519_SIZE : EXCHANGE_POINT; }

bool share_make(struct tls_handshake *h, u16 group, u8 *share) {
    for (int i = 0; i < 4; i++) {
        h->config->random(h->private_key, sizeof h->private_key);
        if (group == GROUP_P256) {
            if (exchange_public(share, h->private_key)) return true;
        } else {
            x25519_public(share, h->private_key);
            return true;
        }
    }
    return false;
}

bool share_agree(const struct tls_handshake *h, u16 group, const u8 *share, u8 shared[32]) {
    return group == GROUP_P256 ? exchange_shared(shared, h->private_key, share) : x25519(shared, h->private_key, share);
}
