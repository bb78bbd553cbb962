/* The guard pair: two processes that hold ptrace(2) of the program and of each other, so that nobody else can have it. */
#ifndef CLOISTER_GUARD_H
#define CLOISTER_GUARD_H

#include "rt.h"

/* Starts the guards, which take hold meanwhile. `kernel_stack` is the initial stack pointer. */
void guard_begin(u64 kernel_stack);
/* Returns when they hold this process; exits if they cannot. Call before any secret is in memory. */
void guard_await(void);
/* In a program executed from an enclave: exits unless a tracer still holds this process. */
void guard_require(void);

#endif
