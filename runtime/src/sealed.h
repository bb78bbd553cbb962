/* Sealed memfds: what text and read-only data are copied into. Nobody can write them once they are sealed. */
#ifndef CLOISTER_SEALED_H
#define CLOISTER_SEALED_H

#include "rt.h"

NODISCARD long sealed_create(u64 size); /* a descriptor, not sealed yet */
/* Fails with EBUSY if anyone else has the memfd mapped writable: then the content cannot be trusted. */
NODISCARD long sealed_finish(long fd);

#endif
