/* What is in use: all that can be reached from a superblock. */
#ifndef CLOISTER_VOLUME_WALK_H
#define CLOISTER_VOLUME_WALK_H

#include "table.h"

/* Claims the blocks and inodes of volume->superblock. No frame is in use. */
NODISCARD long walk_state(struct volume *volume);
/* After it: the blocks of the committed state whose table has this top, as far as they are others. */
NODISCARD long walk_durable(struct volume *volume, const struct top *table);

#endif
