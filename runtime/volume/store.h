/* Blocks on the disk: where there is room, and what authenticates them. */
#ifndef CLOISTER_VOLUME_STORE_H
#define CLOISTER_VOLUME_STORE_H

#include "state.h"

/* Reads what `pointer` leads to; zeros for a hole. */
NODISCARD long store_load(struct volume *volume, const struct pointer *pointer, struct place place, u8 *to);
/* Writes a block anew and changes `*pointer` to it. What the last committed state uses is never written over; zeros become a hole. */
NODISCARD long store_save(struct volume *volume, struct pointer *pointer, struct place place, const u8 *from);
void store_free(struct volume *volume, const struct pointer *pointer);
/* When a volume is opened: the block is in use. -EBADMSG if it is already, or is none. */
NODISCARD long store_claim(struct volume *volume, u32 physical);
/* What is used now is what the committed state uses. */
void store_committed(struct volume *volume);

#endif
