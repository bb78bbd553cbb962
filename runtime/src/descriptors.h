/* Calls of the runtime's own that need a descriptor for a moment. */
#ifndef CLOISTER_DESCRIPTORS_H
#define CLOISTER_DESCRIPTORS_H

#include "rt.h"

/* Makes the call. A program at its limit of open files must still get memory and be able to fork, which natively take no
 * descriptor: then the soft limit is lifted for that moment, as far as the hard one allows. ENOMEM if that is not enough, for
 * nobody expects EMFILE from mmap(2) or fork(2). */
NODISCARD long open_beyond_limit(long number, u64 a, u64 b);

/* Whether two descriptors are of one inode. */
NODISCARD bool is_same_file(long one, long other);

#endif
