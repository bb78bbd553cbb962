/* Secret memory: memfd_secret(2) pages, which no one but this process's own instructions and system calls can read. */
#ifndef CLOISTER_SECRET_H
#define CLOISTER_SECRET_H

#include "rt.h"

enum {
    PAGES_AT_ONCE = 4096, /* how many pages one mincore(2) call asks about */
    SECRET_TRIES = 1000,  /* how often somebody may take the number of the descriptor away: ESTALE */
};

/* A descriptor, and what it must be of: see numbers.c. */
struct secret {
    long fd;
    u64 device, inode;
};

/* All return what the kernel does: an address or 0, or -errno (test with failed()). */
NODISCARD long secret_open(u64 size, struct secret *out); /* the size of a secret inode can be set once only */
void secret_close(const struct secret *secret); /* not after ESTALE: then its number is somebody else's */
NODISCARD long secret_map_from(const struct secret *secret, u64 address, u64 length, int protection, int extra_flags, u64 offset);
NODISCARD long secret_map(u64 address, u64 length, int protection, int extra_flags);

/* Zeroes the pages of [start, start+length) that exist, without bringing absent ones into being (22 us each). The range must
 * be readable and writable. `residency` has room for PAGES_AT_ONCE bytes. */
void secret_wipe(u64 start, u64 length, u8 *residency);
/* The same where the protection is `before` and shall be `after`; false if it cannot be changed. */
bool secret_clear(u64 start, u64 length, int before, int after, u8 *residency);
/* Copies the pages that exist; both ranges must be accessible, the target must be zero. */
void secret_copy(u64 to, u64 from, u64 length, u8 *residency);

#endif
