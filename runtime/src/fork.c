/* fork(2): the child must get private copies of all secret memory, which is shared with the parent at first (memfd_secret
 * knows no copy on write). The parent waits meanwhile, with the lock held.
 *
 * 1. The child starts on a stack of its own and copies the program's memory extent by extent.
 * 2. Now the parent's stack is a private copy: it goes on there, and copies the runtime's own state last.
 * 3. It tells the parent. The end of a pipe tells the parent too if the child is killed on the way.
 */
#include <linux/mman.h>
#include <linux/sched.h>

#include "call.h"
#include "descriptors.h"
#include "process.h"
#include "secret.h"
#include "state.h"
#include "window.h"

struct context {
    u64 registers[8];
};
long rt_save(struct context *context) __attribute__((returns_twice));
__attribute__((noreturn)) void rt_resume(struct context *context);
long rt_clone_on(u64 flags, void *stack_top, int *parent_tid, void (*child)(void *), void *arg);

enum { ARCH_SET_FS_CODE = 0x1002, CHILD_STACK = 64 << 10, WAIT_FOR_ALL = 0x40000000 /* __WALL */ };

struct fork {
    struct context context;
    u64 flags, child_tid, thread_pointer;
    int done[2]; /* pipe: the child writes a byte when its memory is its own */
};

/* Copies one mapping that is not backed by a slot: program data at fixed addresses, the runtime's state. */
static long copy_area(u64 start, u64 end, int protection, u8 *residency) {
    long at = secret_map(0, end - start, PROT_READ | PROT_WRITE, 0);
    if (failed(at)) return at;
    if (!(protection & PROT_READ)) SYS3(__NR_mprotect, start, end - start, PROT_READ);
    secret_copy((u64)at, start, end - start, residency);
    if (protection != (PROT_READ | PROT_WRITE)) SYS3(__NR_mprotect, at, end - start, protection);
    return SYS5(__NR_mremap, at, end - start, end - start, MREMAP_MAYMOVE | MREMAP_FIXED, start);
}

static void copy_secret_areas_of(const struct extent *extent, u64 to, u8 *residency) {
    for (size_t i = areas_first_ending_after(extent->start); i < areas_count() && areas_get(i)->start < extent->end; i++) {
        const struct area *area = areas_get(i);
        if (area->kind != AREA_SECRET) continue;
        u64 start = max_u64(area->start, extent->start), stop = min_u64(area->end, extent->end);
        if (!(area->protection & PROT_READ)) SYS3(__NR_mprotect, start, stop - start, PROT_READ);
        secret_copy(to + (start - extent->start), start, stop - start, residency);
    }
}

/* Moves [start, stop) of the copied extent into its place and gives it the protections the areas say. */
static long settle(u64 copied, u64 start, u64 stop) {
    if (start >= stop) return 0;
    u64 length = stop - start;
    long error = SYS5(__NR_mremap, copied, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, start);
    if (failed(error)) return error;
    SYS3(__NR_mprotect, start, length, PROT_NONE);
    for (size_t i = areas_first_ending_after(start); i < areas_count() && areas_get(i)->start < stop; i++) {
        const struct area *area = areas_get(i);
        u64 from = max_u64(area->start, start), to = min_u64(area->end, stop);
        if (area->protection != PROT_NONE) error = SYS3(__NR_mprotect, from, to - from, area->protection);
        if (failed(error)) return error;
    }
    return 0;
}

static long copy_extent(const struct extent *extent, u8 *residency) {
    long copy = secret_map(0, extent->end - extent->start, PROT_READ | PROT_WRITE, 0), error = 0;
    if (failed(copy)) return copy;
    copy_secret_areas_of(extent, (u64)copy, residency);
    u64 at = extent->start;
    for (size_t i = areas_first_ending_after(at); i < areas_count() && areas_get(i)->start < extent->end && !failed(error); i++) {
        const struct area *area = areas_get(i);
        if (area->kind == AREA_SECRET) continue;
        error = settle((u64)copy + (at - extent->start), at, area->start);
        at = area->end;
    }
    if (!failed(error)) error = settle((u64)copy + (at - extent->start), at, extent->end);
    return error;
}

static long copy_program_memory(u8 *residency) {
    long error = 0;
    for (size_t i = 0; i < areas_count() && !failed(error); i++) {
        const struct area *area = areas_get(i);
        if (area->kind == AREA_SECRET && !in_window(area->start))
            error = copy_area(area->start, area->end, area->protection, residency);
    }
    struct extent extent = {0};
    while (!failed(error) && window_next_extent(extent.end, &extent)) error = copy_extent(&extent, residency);
    return error;
}

/* Steps 1 and 2, on the child's first stack. Nothing of the runtime's state may be written: it is the parent's still. */
static void child_main(void *arg) {
    struct fork *fork = arg;
    u8 residency[PAGES_AT_ONCE];
    if (failed(copy_program_memory(residency))) SYS1(__NR_exit_group, CLOISTER_EXIT_INTERNAL);
    rt_resume(&fork->context);
}

static void finish_child(struct fork *fork) {
    process_own_runtime_state();
    lock_reset_in_child();
    state.counters = (struct counters){0};
    SYS1(__NR_close, fork->done[0]);
    int *child_tid = ptr_of(fork->child_tid);
    if (fork->flags & CLONE_CHILD_SETTID) *child_tid = (int)SYS0(__NR_gettid);
    SYS1(__NR_set_tid_address, fork->flags & CLONE_CHILD_CLEARTID ? child_tid : NULL);
    if (fork->flags & CLONE_SETTLS) SYS2(__NR_arch_prctl, ARCH_SET_FS_CODE, fork->thread_pointer);
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

long fork_process(struct call *call) {
    const u64 *a = call->arg;
    bool plain = call->number == __NR_fork;
    struct fork fork = {.flags = plain ? 17 /* SIGCHLD */ : a[0], .child_tid = a[3], .thread_pointer = a[4]};
    if (fork.flags & (CLONE_VM | CLONE_FILES)) return -EINVAL; /* CLONE_VM comes here only with CLONE_UNTRACED */
    struct lock_guard lock;
    lock_take(&lock, true);
    state.counters.forks++;
    long result = fork_locked(&fork, ptr_of(a[2]));
    if (result == 0 && !plain && a[1]) call->frame->rsp = a[1];
    lock_give(&lock);
    return result;
}
