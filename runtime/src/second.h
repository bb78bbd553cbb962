/* A second thread of the runtime's own, for a moment: on a stack of secret memory, with all signals blocked. */
#ifndef CLOISTER_SECOND_H
#define CLOISTER_SECOND_H

#include "rt.h"

struct second {
    long thread; /* 0 if there is none */
    u64 stack, stack_size;
};

bool has_two_processors(void); /* that this process may use */
/* False without memory, or where a limit or a filter of the program's own refuses threads. All signals must be blocked: the thread
 * inherits that. It ends by SYS1(__NR_exit, 0). */
NODISCARD bool second_start(struct second *second, u64 stack_size, void (*run)(void *), void *arg);
/* Waits until the kernel does not know it any more: some calls, and the guards, are for processes of one thread only. */
void second_await(struct second *second);

#endif
