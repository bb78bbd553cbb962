/* A thread that unmaps the stack it stands on (musl's detached threads: munmap, then exit, without a stack). The runtime needs
 * that stack until the thread is gone, so the memory is given up later. Called with the lock held. */
#ifndef CLOISTER_FAREWELL_H
#define CLOISTER_FAREWELL_H

#include "rt.h"

void farewell_defer(u64 start, u64 length); /* to be unmapped when the calling thread has ended */
void farewell_collect(void);                /* unmaps what ended threads have left */

#endif
