/* Before and after an operation that changes something. */
#ifndef CLOISTER_VOLUME_BEGIN_H
#define CLOISTER_VOLUME_BEGIN_H

#include "state.h"

/* Room for what it makes dirty: writes the rest if that is much. */
NODISCARD long volume_begin(struct volume *volume);
/* After one: the content changed now. */
NODISCARD long volume_stamp(struct volume *volume, u64 inode);

#endif
