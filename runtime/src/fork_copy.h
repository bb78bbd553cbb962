/* Private copies of what the program has in secret memory, put where the shared pages stood. */
#ifndef CLOISTER_FORK_COPY_H
#define CLOISTER_FORK_COPY_H

#include "rt.h"

/* On a stack that is not the program's, in the only thread of the process, with all signals blocked. Writes nothing of the runtime's
 * state. After an error some memory is private, some is still shared. */
NODISCARD long fork_copy_program_memory(void);

#endif
