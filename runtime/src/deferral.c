/* The child's side: how it begins, and how it becomes complete. */
#include "deferral.h"

#include <linux/futex.h>

#include "../shield/shield.h"
#include "deferral_pages.h"
#include "fork_copy.h"
#include "process.h"
#include "state.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59 /* Linux 5.11 */
#endif

extern const char rt_request[], rt_requested[];
void rt_on_stack(void *stack_top, void (*fn)(void *), void *arg);

enum {
    DISPATCH_OFF, DISPATCH_ON, WRITING = 2 /* of a page fault's error code */, SET_MASK = 2,
    SEGV = 11, KILL = 9, ADDRESS_AT = 16 /* in siginfo_t */, BLOCK = 0, NO_STACK = 2 /* SS_DISABLE */,
};

static struct deferral *current;

struct deferral *deferral_now(void) { return current; }

static bool dispatch(u64 mode) {
    u64 length = mode == DISPATCH_ON ? (u64)(gate_end - gate_start) : 0, start = mode == DISPATCH_ON ? addr_of(gate_start) : 0;
    return SYS5(__NR_prctl, PR_SET_SYSCALL_USER_DISPATCH, mode, start, length, 0) == 0;
}

struct signal_stack { /* stack_t */
    u64 pointer;
    int flags, unused;
    u64 size;
};

static void set_signal_stack(void *stack) { SYS2(__NR_sigaltstack, stack, 0); }

static u64 signal_stack_start(const struct deferral *deferral) { return deferral->stack_top - DEFERRAL_STACK + PAGE; }

static void use_signal_stack(const struct deferral *deferral) {
    struct signal_stack own = {signal_stack_start(deferral), 0, 0, DEFERRAL_STACK - PAGE};
    set_signal_stack(&own);
}

/* The kernel changes no stack in use, not even on return from a handler (rt_sigreturn(2) does not say so; seen on Linux 6.18): so
 * this is done from the page below it. */
static void give_signal_stack_back(const struct deferral *deferral) {
    struct signal_stack theirs = {addr_of(deferral->stack_pointer), deferral->stack_flags, 0, deferral->stack_size};
    if (!theirs.size) theirs.flags = NO_STACK;
    rt_on_stack(ptr_of(signal_stack_start(deferral)), set_signal_stack, &theirs);
}

/* The kernel marks both words when this thread ends or executes, the secret one first, and wakes who waits at the bell. The bell is what
 * the list calls pending: of an entry the kernel would go on to the next, by a pointer that others can write there. */
static void hang_bell(struct deferral *deferral) {
    u32 self = (u32)SYS0(__NR_gettid);
    deferral->owner.next = (struct robust_word *)&deferral->robust;
    deferral->robust = (struct robust_head){
        .next = &deferral->owner, .offset = offsetof(struct robust_word, word), .pending = deferral->bell};
    __atomic_store_n(&deferral->owner.word, self, __ATOMIC_SEQ_CST);
    __atomic_store_n(&deferral->bell->word, self | FUTEX_WAITERS, __ATOMIC_SEQ_CST);
    SYS2(__NR_set_robust_list, &deferral->robust, sizeof deferral->robust);
}

static bool open_likely(struct deferral *deferral, u64 low, u64 high) {
    u64 count = 0;
    const u64 *likely = deferral_likely(&count);
    for (u64 page = page_down(low); page < high; page += PAGE)
        if (!pages_open(deferral, page)) return false;
    return pages_open_all(deferral, likely, count);
}

/* The signal stack and SIGSEGV are the runtime's for now: the frame must not say otherwise. */
static void adopt_frame(struct deferral *deferral, struct trap_frame *frame) {
    deferral->stack_pointer = frame->stack.pointer;
    deferral->stack_size = frame->stack.size;
    deferral->stack_flags = frame->stack.flags;
    frame->stack.pointer = ptr_of(signal_stack_start(deferral));
    frame->stack.size = DEFERRAL_STACK - PAGE;
    frame->stack.flags = 0;
    deferral->segv_blocked = frame->signals & SEGV_BIT;
    frame->signals &= ~SEGV_BIT;
    deferral->frame = frame;
}

static void give_frame_back(const struct deferral *deferral, struct trap_frame *frame) {
    frame->stack.pointer = deferral->stack_pointer;
    frame->stack.size = deferral->stack_size;
    frame->stack.flags = deferral->stack_flags;
    frame->signals |= deferral->segv_blocked;
}

bool deferral_begin(struct deferral *deferral, u64 low, struct trap_frame *frame) {
    deferral->parent = SYS0(__NR_getppid);
    if (!deferral->parent) return false; /* in another pid namespace: its end could not be seen */
    if (!dispatch(DISPATCH_ON)) {
        deferral->no_dispatch = true;
        return false;
    }
    bool open = pages_hold_back() && pages_open(deferral, page_down(addr_of(&current)));
    if (!open || !open_likely(deferral, low, addr_of(frame + 1))) {
        dispatch(DISPATCH_OFF);
        return false;
    }
    current = deferral;
    deferral->busy = true;
    use_signal_stack(deferral);
    adopt_frame(deferral, frame);
    deferral_replace_signals(deferral);
    hang_bell(deferral);
    return true;
}

/* From here to the program's next instruction only pages are written that are private already. */
void deferral_leave_fork(void) {
    const u64 faults = SEGV_BIT;
    if (!current) return;
    if (current->segv_sent) {
        deferral_end();
        return;
    }
    SYS4(__NR_rt_sigprocmask, BLOCK, &faults, 0, 8);
    current->frame = NULL;
    current->busy = false;
}

bool deferral_enter(u64 *signals) {
    const u64 all = ~(SEGV_BIT | SIGSYS_BIT);
    SYS4(__NR_rt_sigprocmask, SET_MASK, &all, signals, 8);
    if (current) current->busy = true;
    else SYS4(__NR_rt_sigprocmask, SET_MASK, signals, 0, 8);
    return current != NULL;
}

void deferral_leave(const u64 *signals) {
    struct deferral *deferral = current;
    deferral->busy = false;
    if (deferral->segv_sent) deferral_end();
    u64 mask = *signals | (current ? 0 : deferral->segv_blocked);
    SYS4(__NR_rt_sigprocmask, SET_MASK, &mask, 0, 8);
}

static __attribute__((noreturn)) void end_without_memory(void) {
    static const char message[] = "cloister: a forked process ends: there is no secret memory for its copies\n";
    SYS3(__NR_write, 2, message, sizeof message - 1);
    SYS2(__NR_kill, SYS0(__NR_getpid), KILL); /* as the kernel ends who gets no memory */
    __builtin_unreachable();
}

/* True if the parent made the copies, or is dead. It may give up, and be asked again. */
static bool parent_has_split(struct deferral *deferral) {
    const u64 moment[2] = {0, 100000};
    u32 phase;
    while ((phase = __atomic_load_n(&deferral->phase, __ATOMIC_SEQ_CST)) == DEFERRAL_SPLITTING) {
        if (SYS0(__NR_getppid) != deferral->parent) return true;
        SYS2(__NR_nanosleep, moment, 0);
    }
    return phase == DEFERRAL_DONE;
}

static void take_memory(struct deferral *deferral) {
    for (;;) {
        u32 expected = DEFERRAL_RUNNING;
        if (__atomic_compare_exchange_n(&deferral->phase, &expected, DEFERRAL_COMPLETING, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
            if (failed(fork_copy_program_memory())) end_without_memory();
            break;
        }
        if (!parent_has_split(deferral)) continue;
        if (!pages_give_back()) end_without_memory();
        break;
    }
    process_own_runtime_state();
}

static void send_again(int signal, const void *info) {
    long process = SYS0(__NR_getpid), thread = SYS0(__NR_gettid);
    if (failed(SYS4(__NR_rt_tgsigqueueinfo, process, thread, signal, info)))
        SYS3(__NR_tgkill, process, thread, signal); /* over the limit of queued signals */
}

void deferral_complete(struct trap_frame *frame) {
    struct deferral *deferral = current;
    u64 all = ~SIGSYS_BIT;
    take_memory(deferral);
    SYS4(__NR_rt_sigprocmask, SET_MASK, &all, 0, 8);
    deferral_restore_signals(deferral);
    dispatch(DISPATCH_OFF);
    give_signal_stack_back(deferral);
    give_frame_back(deferral, frame);
    if (deferral->frame) give_frame_back(deferral, deferral->frame);
    if (deferral->segv_sent) send_again(SEGV, deferral->segv_info);
    current = NULL;
    deferral->used_up = true;
    __atomic_store_n(&deferral->phase, DEFERRAL_DONE, __ATOMIC_SEQ_CST);
    deferral_ring(deferral);
    SYS2(__NR_set_robust_list, deferral->robust_head, sizeof(struct robust_head));
    SYS2(__NR_munmap, deferral->bell, PAGE);
    shield_child_complete();
}

void deferral_complete_and_send(int signal, const void *info, struct trap_frame *frame) {
    const u64 all = ~0UL;
    deferral_complete(frame);
    SYS4(__NR_rt_sigprocmask, SET_MASK, &all, 0, 8);
    send_again(signal, info);
}

/* The way into a handler, whose frame says what to go back to. */
void deferral_end(void) {
    if (current) ((void (*)(void))ptr_of(addr_of(rt_request)))();
}

/* Somebody sent SIGSEGV. */
static void take_sent(int signal, const void *info, struct trap_frame *frame) {
    if (current->busy) {
        current->segv_sent = true;
        memcpy(current->segv_info, info, DEFERRAL_SIGNAL_INFO);
        return;
    }
    deferral_complete_and_send(signal, info, frame);
}

static bool is_for_held_back(const void *info, const struct trap_frame *frame, u64 *page) {
    const u64 *address = (const u64 *)((const u8 *)info + ADDRESS_AT);
    *page = page_down(*address);
    return frame->error & WRITING && pages_held_back(*address);
}

void deferral_fault(int signal, void *info, struct trap_frame *frame); /* entry.S */

/* What is no page held back is the program's own fault: it happens again once the program's own handler is back. */
__attribute__((used)) void deferral_fault(int signal, void *info, struct trap_frame *frame) {
    const int *code = (const int *)info + 2;
    const struct kernel_action standard = {0};
    u64 page;
    if (*code <= 0) {
        take_sent(signal, info, frame);
        return;
    }
    bool requested = frame->rip == addr_of(rt_request);
    if (!requested && is_for_held_back(info, frame, &page) && (current->busy || current->faults++ < current->faults_most))
        if (pages_open(current, page)) return;
    current->wrote_much = !requested && current->faults > current->faults_most;
    if (requested || !current->busy) deferral_complete(frame);
    else SYS4(__NR_rt_sigaction, signal, &standard, 0, 8); /* the runtime's own fault: it ends by it */
    if (requested) frame->rip = addr_of(rt_requested);
}
