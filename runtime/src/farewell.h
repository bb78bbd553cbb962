/* A thread that unmaps the stack it stands on (musl's detached threads: munmap, then exit, without a stack). The runtime needs
 * that stack until the thread is gone, so the memory is given up later. Called with the lock held. */
#ifndef CLOISTER_FAREWELL_H
#define CLOISTER_FAREWELL_H

#include "rt.h"

void farewell_defer(u64 start, u64 length); /* to be unmapped when the calling thread has ended */
void farewell_collect(void);                /* unmaps what ended threads have left */
/* When a thread of glibc ends, it gives up what its stack has below the stack pointer (MADV_DONTNEED): megabytes, next to none of which
 * were touched, but finding out takes the kernel 80 us. What is below the pointer and the red zone is nobody's (psABI 3.2.2), so it
 * need not be zeros afterwards. Returns how much of the range, from its start, remains to be advised. */
u64 farewell_without_stack(u64 start, u64 length, u64 stack_pointer);

#endif
