/* The tree's key in the guard's hands (handoff.h): who gets it. */
#ifndef CLOISTER_GUARD_KEY_H
#define CLOISTER_GUARD_KEY_H

#include "rt.h"

void guard_key_executed(long tid); /* stopped before the first instruction of what it executed */
void guard_key_asked(long tid);    /* stopped by a filter's SECCOMP_RET_TRACE */

#endif
