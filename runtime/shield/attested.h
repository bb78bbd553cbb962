/* What this enclave shows of itself in RA-TLS: a key that was made here and never leaves, and a certificate in which the host's
 * attester vouches for it. One for all of a process's connections, renewed before it is old. */
#ifndef CLOISTER_SHIELD_ATTESTED_H
#define CLOISTER_SHIELD_ATTESTED_H

#include "../tls/keys.h"

struct attested {
    struct private_key key;
    const u8 *chain; /* one certificate: its length (4 bytes, little-endian), DER */
    size_t chain_size;
};

/* The one to show to a peer that comes now. The first call, and each that finds it old, asks the attester, which takes milliseconds. With
 * the lock of `state` held. 0, or why there is none: -ENOTCONN without an attester, -EACCES if it refuses. What was made before stays
 * where it is until the second one after it. */
NODISCARD long attested_now(const struct attested **attested);

#endif
