/* fork(2): the child must get private copies of all secret memory, which is shared with the parent at first (memfd_secret
 * knows no copy on write). The parent waits meanwhile, with the lock held. Where it can be, all this is put off, in the hope that the
 * child ends or executes before (deferral.h). Else:
 *
 * 1. The child starts on a stack of its own and copies the program's memory extent by extent.
 * 2. Now the parent's stack is a private copy: it goes on there, and copies the runtime's own state last.
 * 3. It tells the parent. The end of a pipe tells the parent too if the child is killed on the way.
 */
#include <linux/mman.h>
#include <linux/sched.h>

#include "../shield/shield.h"
#include "call.h"
#include "deferral.h"
#include "descriptors.h"
#include "fork_copy.h"
#include "process.h"
#include "secret.h"
#include "state.h"

struct context {
    u64 registers[8];
};
long rt_save(struct context *context) __attribute__((returns_twice));
__attribute__((noreturn)) void rt_resume(struct context *context);
long rt_clone_on(u64 flags, void *stack_top, int *parent_tid, void (*child)(void *), void *arg);

enum { ARCH_SET_FS_CODE = 0x1002, CHILD_STACK = 64 << 10, STACK_POINTER = 6 /* of struct context: rt_save */, WAIT_FOR_ALL = 0x40000000 /* __WALL */ };

struct fork {
    struct context context;
    u64 flags, child_tid, thread_pointer;
    struct trap_frame *frame;
    struct deferral *deferral; /* NULL if the child copies at once */
    int done[2]; /* pipe: the child writes a byte when its memory is its own */
};

/* Steps 1 and 2, on the child's first stack. Nothing of the runtime's state may be written: it is the parent's still. */
static void child_main(void *arg) {
    struct fork *fork = arg;
    if (failed(fork_copy_program_memory())) SYS1(__NR_exit_group, CLOISTER_EXIT_INTERNAL);
    rt_resume(&fork->context);
}

static void set_up_thread(const struct fork *fork) {
    int *child_tid = ptr_of(fork->child_tid);
    if (fork->flags & CLONE_CHILD_SETTID) *child_tid = (int)SYS0(__NR_gettid);
    SYS1(__NR_set_tid_address, fork->flags & CLONE_CHILD_CLEARTID ? child_tid : NULL);
    if (fork->flags & CLONE_SETTLS) SYS2(__NR_arch_prctl, ARCH_SET_FS_CODE, fork->thread_pointer);
}

static void finish_child(const struct fork *fork) {
    process_own_runtime_state();
    deferral_forget();
    lock_reset_in_child();
    state.counters = (struct counters){0};
    SYS1(__NR_close, fork->done[0]);
    set_up_thread(fork);
    shield_forked();
    shield_child_complete();
    SYS3(__NR_write, fork->done[1], "", 1);
    SYS1(__NR_close, fork->done[1]);
}

/* A child that ended before it had its own memory never was: fork fails, and nobody else can wait for it. */
static long wait_for_child(const struct fork *fork, long child) {
    char byte;
    SYS1(__NR_close, fork->done[1]);
    long n;
    while ((n = SYS3(__NR_read, fork->done[0], &byte, 1)) == -EINTR) continue;
    SYS1(__NR_close, fork->done[0]);
    if (n == 1 || failed(child)) return child;
    SYS4(__NR_wait4, child, NULL, WAIT_FOR_ALL, NULL);
    return -ENOMEM;
}

/* The kernel must not touch the child's memory (tid words, fs base) while it is still the parent's. */
static const u64 done_by_finish_child = CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | CLONE_SETTLS | CLONE_UNTRACED;

static long fork_locked(struct fork *fork, int *parent_tid) {
    long stack = secret_map(0, CHILD_STACK, PROT_READ | PROT_WRITE, 0);
    if (failed(stack)) return -ENOMEM;
    long result = open_beyond_limit(__NR_pipe2, addr_of(fork->done), CLOSE_ON_EXEC);
    if (!failed(result) && rt_save(&fork->context)) {
        finish_child(fork);
        SYS2(__NR_munmap, stack, CHILD_STACK);
        return 0;
    }
    if (failed(result)) {
        SYS2(__NR_munmap, stack, CHILD_STACK);
        return -EAGAIN;
    }
    result = rt_clone_on(fork->flags & ~done_by_finish_child, ptr_of((u64)stack + CHILD_STACK), parent_tid, child_main, fork);
    result = wait_for_child(fork, result);
    SYS2(__NR_munmap, stack, CHILD_STACK);
    return result;
}

/* Like child_main, for a child that is deferred; where it cannot be, it copies all at once after all. */
static void deferred_main(void *arg) {
    struct fork *fork = arg;
    struct deferral *deferral = fork->deferral;
    if (!deferral_begin(deferral, fork->context.registers[STACK_POINTER], fork->frame) && failed(fork_copy_program_memory())) {
        deferral->phase = DEFERRAL_FAILED;
        deferral_ring(deferral);
        SYS1(__NR_exit_group, CLOISTER_EXIT_INTERNAL);
    }
    rt_resume(&fork->context);
}

static void finish_deferred(const struct fork *fork) {
    bool deferred = deferral_now();
    if (!deferred) process_own_runtime_state();
    lock_reset_in_child();
    state.counters = (struct counters){0};
    set_up_thread(fork);
    shield_forked();
    if (deferred) return;
    shield_child_complete();
    fork->deferral->used_up = true;
    fork->deferral->phase = DEFERRAL_DONE;
    deferral_ring(fork->deferral);
}

static long fork_deferred(struct fork *fork, int *parent_tid) {
    if (rt_save(&fork->context)) {
        finish_deferred(fork);
        return 0;
    }
    void *stack = ptr_of(fork->deferral->stack_top);
    long child = rt_clone_on(fork->flags & ~done_by_finish_child, stack, parent_tid, deferred_main, fork);
    if (failed(child) || deferral_await(fork->deferral)) return child;
    SYS4(__NR_wait4, child, NULL, WAIT_FOR_ALL, NULL);
    return -ENOMEM;
}

long fork_process(struct call *call) {
    const u64 *a = call->arg;
    bool plain = call->number == __NR_fork;
    struct fork fork = {.flags = plain ? 17 /* SIGCHLD */ : a[0], .child_tid = a[3], .thread_pointer = a[4], .frame = call->frame};
    if (fork.flags & (CLONE_VM | CLONE_FILES)) return -EINVAL; /* CLONE_VM comes here only with CLONE_UNTRACED */
    struct lock_guard lock;
    lock_take(&lock, true);
    state.counters.forks++;
    shield_before_fork();
    fork.deferral = shield_may_defer() ? deferral_prepare(call, fork.flags) : NULL;
    long result = fork.deferral ? fork_deferred(&fork, ptr_of(a[2])) : fork_locked(&fork, ptr_of(a[2]));
    if (result == 0 && !plain && a[1]) call->frame->rsp = a[1];
    lock_give(&lock);
    if (result == 0) deferral_leave_fork();
    return result;
}
