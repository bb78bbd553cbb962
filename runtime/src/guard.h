/* The guard pair: two processes that hold ptrace(2) of the program and of each other, so that nobody else can have it. */
#ifndef CLOISTER_GUARD_H
#define CLOISTER_GUARD_H

#include "rt.h"

/* Starts the guards and returns when they hold this process; exits if they cannot. `kernel_stack` is the initial stack
 * pointer. Call before any secret is in memory. */
void guard_start(u64 kernel_stack);
/* In a program executed from an enclave: exits unless a tracer still holds this process. */
void guard_require(void);

#endif
