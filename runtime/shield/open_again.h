/* The program opens, by a path of /proc or /dev, what it has open already: what was shielded stays so. */
#ifndef CLOISTER_SHIELD_OPEN_AGAIN_H
#define CLOISTER_SHIELD_OPEN_AGAIN_H

#include "call.h"

/* Which descriptor the path of open(2) and its kind names, or -1. */
NODISCARD long open_again_number(const struct call *call);
/* The call, made now. It may wait, for the other end of a pipe: so hold no lock. */
NODISCARD long open_again_now(const struct call *call);
NODISCARD bool open_again_closes_on_exec(const struct call *call);

#endif
