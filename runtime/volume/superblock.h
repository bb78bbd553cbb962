/* Superblocks: what a key makes of one, and which of them leads to a volume's state. */
#ifndef CLOISTER_VOLUME_SUPERBLOCK_H
#define CLOISTER_VOLUME_SUPERBLOCK_H

#include "state.h"

/* The volume's keys, from its own and volume->superblock.identifier. */
void superblock_derive(struct volume *volume, const u8 key[32]);
void superblock_write_tag(const struct volume *volume, struct superblock *superblock);
/* Reads the newest that was committed into volume->newest; by `key`, or by what was derived if there is none. */
NODISCARD long superblock_find(struct volume *volume, const u8 *key);
/* Reads the one that `wanted` says into volume->other. -EBADMSG if that is not there. */
NODISCARD long superblock_read(struct volume *volume, const struct volume_root *wanted);
void superblock_digest(const struct superblock *superblock, u8 digest[32]);

#endif
