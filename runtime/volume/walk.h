/* What is in use: all that can be reached from a superblock. */
#ifndef CLOISTER_VOLUME_WALK_H
#define CLOISTER_VOLUME_WALK_H

#include "table.h"

/* Before something is changed: what the state and the newest committed one use. Nothing is dirty if it is not known yet. It costs a look
 * at all nodes, 1/128 of the data, which who only reads is spared. */
NODISCARD long walk_ensure(struct volume *volume);

#endif
