#include "together.h"

#include <linux/mman.h>
#include <linux/sched.h>

#include "copier.h"
#include "secret.h"

long rt_clone_on(u64 flags, void *stack_top, int *parent_tid, void (*child)(void *), void *arg);

enum { STACK = 4 << 10, SET_MASK = 2, EAGER_LOOKS = 100 };

static bool is_allowed;

void together_allow(bool allowed) { is_allowed = allowed; }

static void do_pieces(struct work *work) {
    for (;;) {
        u64 index = __atomic_fetch_add(&work->next, 1, __ATOMIC_ACQ_REL);
        if (index >= work->count) return;
        work->piece(work, index);
    }
}

static void second_main(void *work) {
    do_pieces(work);
    SYS1(__NR_exit, 0);
}

/* The kernel must not know the second thread any more: the guards want the program alone in its memory (guard_pair.c). */
static void await_end(long thread) {
    const u64 moment[2] = {0, 20000};
    long process = SYS0(__NR_getpid);
    for (u32 i = 0; SYS3(__NR_tgkill, process, thread, 0) != -ESRCH; i++)
        if (i < EAGER_LOOKS) SYS0(__NR_sched_yield);
        else SYS2(__NR_nanosleep, moment, 0);
}

/* Signals are blocked, so that none is handled, or stops a thread, on the small stack. */
static void with_second(struct work *work) {
    const u64 flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    u64 all = ~0UL, before;
    long stack = secret_map(0, STACK, PROT_READ | PROT_WRITE, 0);
    if (failed(stack)) return;
    SYS4(__NR_rt_sigprocmask, SET_MASK, &all, &before, 8);
    long thread = rt_clone_on(flags, ptr_of((u64)stack + STACK), NULL, second_main, work);
    do_pieces(work);
    if (!failed(thread)) await_end(thread);
    SYS4(__NR_rt_sigprocmask, SET_MASK, &before, 0, 8);
    SYS2(__NR_munmap, stack, STACK);
}

void together(struct work *work) {
    if (is_allowed && work->count > 1 && has_two_processors()) with_second(work);
    do_pieces(work);
}
