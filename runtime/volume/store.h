/* Blocks on the disk: where there is room, and what authenticates them. */
#ifndef CLOISTER_VOLUME_STORE_H
#define CLOISTER_VOLUME_STORE_H

#include "state.h"

/* Reads what `pointer` leads to; zeros for a hole. */
NODISCARD long store_load(struct volume *volume, const struct pointer *pointer, struct place place, u8 *to);
/* Writes a block anew and changes `*pointer` to it. What the last committed state uses is never written over; zeros become a hole. */
NODISCARD long store_save(struct volume *volume, struct pointer *pointer, struct place place, const u8 *from);
void store_free(struct volume *volume, const struct pointer *pointer);
/* Room for so many blocks more than there are dirty ones, and some that only what makes room may use: -ENOSPC. */
NODISCARD long store_reserve(struct volume *volume, u64 blocks);
/* When a volume is opened: nothing is in use. */
void store_forget(struct volume *volume);
/* The block is in use. -EBADMSG if it is already, or is none. */
NODISCARD long store_claim(struct volume *volume, u64 physical);
/* The newest committed state uses it: 1, or 0 if the state that was opened does too, with all that is below: neither writes over what
 * the other uses, so it is the same. */
NODISCARD long store_claim_durable(struct volume *volume, u64 physical);
/* All is claimed. Its superblock stands at `place`. */
void store_opened(struct volume *volume, u64 place);
/* What is used now is what the committed, or the published state uses. */
void store_committed(struct volume *volume);
void store_published(struct volume *volume, u64 place);
/* A block for a superblock to be published. */
NODISCARD long store_place(struct volume *volume);

#endif
