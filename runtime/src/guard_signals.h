/* Signals on their way to a thread of a tree that uses volumes, as the guard sees them: recalls of the lease (guard_lease.h); what would
 * stop a process that has it, which gives it back first; and what would end a process, which leaves first as by exit_group(2). */
#ifndef CLOISTER_GUARD_SIGNALS_H
#define CLOISTER_GUARD_SIGNALS_H

#include "rt.h"

enum { GUARD_RECALL = -0x434c /* si_code */, GUARD_TIMED = 1 };
enum { CONTINUE = 18, STOP, STOP_LAST = 22 /* SIGTTOU */ }; /* signals: from STOP on they stop */

/* siginfo_t, as far as it matters here. Of a recall: `error` is the signal to be sent again after it, with the same code, or 0; `user` is
 * GUARD_TIMED if it interrupted a call that waits with a time limit. */
struct signal_info {
    int signal, error, code, unused;
    u32 process, user;
    u8 rest[104];
};

/* What the thread gets in its place; 0: nothing. */
NODISCARD u64 guard_signals_let(long tid, u64 signal);

#endif
