/* RLIMIT_AS, the limit of address space. To the kernel the window counts as a whole, so the kernel's limit is the program's and
 * LIMIT_RESERVED more, also across exec; what the program has mapped is counted here. */
#ifndef CLOISTER_LIMITS_H
#define CLOISTER_LIMITS_H

#include "extents.h"

/* The window, and what the runtime maps beside it. */
#define LIMIT_RESERVED (WINDOW_SIZE + (8UL << 30))

/* Whether a limit was inherited from a program of this tree. */
void limits_begin(void);
/* Whether the program may have `more` bytes of address space. */
NODISCARD bool limits_allow(u64 more);
/* How many of [start, end) the program has already. */
u64 limits_mapped(u64 start, u64 end);

#endif
