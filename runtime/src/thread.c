/* The end of a thread: see rt_thread_exit (entry.S). */
#include <linux/prctl.h>

#include "areas.h"
#include "call.h"

__attribute__((noreturn)) void rt_thread_exit(int *clear_tid, long status);

static bool is_secret(int kind) { return kind == AREA_SECRET || kind == AREA_SHARED_SECRET; }

void thread_exit(long status) {
    int *clear_tid = NULL;
    u64 all = ~0UL;
    SYS4(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &all, 0, 8); /* a handler would run on a stack that is being freed */
    SYS2(__NR_prctl, PR_GET_TID_ADDRESS, &clear_tid);
    if (clear_tid && !is_secret(memory_kind_at(addr_of(clear_tid)))) SYS1(__NR_exit, status); /* there the kernel can, and waiters expect it */
    rt_thread_exit(clear_tid, status);
}
