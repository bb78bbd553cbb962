/* Descriptors that the runtime keeps open for longer than a call: what shielded descriptors refer to, containers of volumes. They
 * stand on high numbers. The program can neither close them nor put something in their place: calls.c asks here. fork and exec
 * inherit them; a new image learns their numbers from its sealed block (carry.c). */
#ifndef CLOISTER_SHIELD_RESERVED_H
#define CLOISTER_SHIELD_RESERVED_H

#include "rt.h"

enum { RESERVED_MOST = 40 };

/* Moves `fd` to such a number, which it returns, or -errno; `fd` is closed either way. */
NODISCARD long reserved_keep(long fd);
void reserved_close(long fd);
/* In a new image: `fd` is one that was inherited. */
void reserved_inherit(int fd);
static inline bool reserved_may_be(u64 fd);
NODISCARD bool reserved_is(u64 fd);
/* The lowest reserved number that is >= fd, or -1. */
NODISCARD long reserved_from(u64 fd);

extern u32 reserved_count;
static inline bool reserved_may_be(u64 fd) { return reserved_count && reserved_is(fd); }

#endif
