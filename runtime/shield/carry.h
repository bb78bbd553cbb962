/* What a program's shielded descriptors, working directory and the runtime's own descriptors are, for what it executes: a part of the
 * sealed block (handoff.h). */
#ifndef CLOISTER_SHIELD_CARRY_H
#define CLOISTER_SHIELD_CARRY_H

#include "region.h"

struct writer;
typedef void put_bytes(struct writer *writer, const void *bytes, u64 size);

/* Runs in vfork children: writes no state. Nothing where there is no shield. */
void carry_write(struct writer *writer, put_bytes *put);
/* In the new image, after state.shield was read. */
void carry_read(struct reader *reader);

struct shielded;
/* socket_carry.c: what follows a connection's entry, and what its object is in the new image: 0 if its state is not there. */
void socket_carry_write(struct writer *writer, put_bytes *put, const struct shielded *entry);
NODISCARD u64 socket_carry_read(struct reader *reader);

#endif
