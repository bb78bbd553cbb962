#include "guard_lease.h"

#include <linux/ptrace.h>

#include "call.h"
#include "guard_families.h"
#include "guard_registers.h"
#include "guard_words.h"

enum {
    ROW = 8, ROW_MOST = 1024, /* questions of one family before it gets the lease: more where it was recalled soon */
    SOON = 20,                /* ms */
    REPEAT = 16,              /* refusals until another thread is called: this one may be stopped, or wait for a child */
    COARSE = 6,               /* CLOCK_MONOTONIC_COARSE */
};

static struct {
    u32 number, slots, thread;
    u16 holder;
    bool wanted;
    u32 refusals;
    u64 since;
} lease;

static u32 last_number, row, needed;
static u16 row_family;

/* ---- calling it back */

/* siginfo_t, as rt_sigqueueinfo(2) wants it. */
struct signal_info {
    int signal, error, code, unused;
    u32 process, user;
    u8 rest[104];
};

static bool is_holders(u32 tid) { return lease.holder && guard_families_of(tid) == lease.holder; }

/* To the process: whichever of its threads can takes it. */
static void call_back(void) {
    const struct signal_info info = {.signal = SIGSYS_NUMBER, .code = GUARD_RECALL};
    if (lease.refusals || !is_holders(lease.thread)) lease.thread = guard_families_next(lease.holder, lease.thread);
    if (lease.thread) SYS3(__NR_rt_sigqueueinfo, lease.thread, SIGSYS_NUMBER, &info);
}

static void recall(void) {
    lease.wanted = true;
    if (lease.refusals % REPEAT == 0) call_back();
    lease.refusals++;
}

/* ---- who has it */

static u64 now(void) {
    u64 time[2] = {0, 0};
    SYS2(__NR_clock_gettime, COARSE, time);
    return time[0] * 1000 + time[1] / 1000000;
}

static void end_lease(void) {
    if (lease.wanted) needed = now() - lease.since < SOON ? (u32)min_u64(2UL * needed, ROW_MOST) : ROW;
    memset(&lease, 0, sizeof lease);
}

static void forget_the_dead(void) {
    if (lease.holder && !guard_families_lives(lease.holder)) end_lease();
}

static void count_row(u16 family) {
    if (family != row_family || !family) row = 0;
    row_family = family;
    row++;
}

bool guard_lease_lets(u32 tid, u32 slot, u32 number) {
    count_row(guard_families_of(tid));
    forget_the_dead();
    if (!(lease.slots >> slot & 1)) return true;
    if (number == lease.number || is_holders(tid)) {
        if (is_holders(tid)) lease.thread = tid;
        return true;
    }
    recall();
    return false;
}

static bool has_earned(u16 family) {
    needed = needed ? needed : ROW;
    return family && row >= needed && guard_families_stay(family);
}

u32 guard_lease_of(u32 tid, u32 slot, bool wanted) {
    u16 family = guard_families_of(tid);
    if (wanted && !(lease.slots >> slot & 1) && has_earned(family)) {
        if (lease.holder && lease.holder != family) recall();
        else {
            if (!lease.holder) lease.number = last_number = last_number % GUARD_LEASES + 1, lease.since = now();
            lease.holder = family;
            lease.thread = tid;
            lease.slots |= 1U << slot;
        }
    }
    return lease.slots >> slot & 1 ? lease.number : 0;
}

void guard_lease_returned(u32 slot) {
    lease.slots &= ~(1U << slot);
    if (!lease.slots) end_lease();
}

/* ---- the signal */

enum { RESTART_SYS = 512, RESTART_ALWAYS, RESTART_NO_HANDLER, RESTART_BLOCK = 516 /* linux/errno.h */ };

/* Whether a call that was interrupted has no time limit, so that it may begin anew. */
static bool is_untimed(const struct registers *registers) {
    switch (registers->original_rax) {
    case __NR_poll: return (int)registers->rdx < 0;
    case __NR_epoll_wait:
    case __NR_epoll_pwait: return (int)registers->r10 < 0;
    case __NR_epoll_pwait2: return !registers->r10;
    case __NR_rt_sigtimedwait: return !registers->rdx;
    case __NR_semop: return true;
    default: return false;
    }
}

/* The program has no handler that would have interrupted its call: it goes on as if nothing had been, as far as it can. */
static void let_call_go_on(long tid) {
    struct registers registers;
    if (failed(SYS4(__NR_ptrace, PTRACE_GETREGS, tid, 0, &registers)) || (long)registers.original_rax < 0) return;
    long result = (long)registers.rax;
    bool anew = result == -RESTART_SYS || result == -RESTART_NO_HANDLER;
    if ((result == -RESTART_BLOCK || result == -EINTR) && is_untimed(&registers)) anew = true;
    if (!anew) return;
    registers.rax = (u64)-RESTART_ALWAYS;
    SYS4(__NR_ptrace, PTRACE_SETREGS, tid, 0, &registers);
}

/* Over the limit of queued signals (RLIMIT_SIGPENDING) the kernel sends it without a word of whose it is. */
static bool is_recall(const struct signal_info *info) {
    return info->code == GUARD_RECALL || (last_number && !info->code && !info->process && !info->user);
}

bool guard_lease_signal(long tid) {
    struct signal_info info;
    if (failed(SYS4(__NR_ptrace, PTRACE_GETSIGINFO, tid, 0, &info)) || !is_recall(&info)) return true;
    if (!lease.wanted || !is_holders((u32)tid)) return false;
    info.code = GUARD_RECALL;
    SYS4(__NR_ptrace, PTRACE_SETSIGINFO, tid, 0, &info);
    let_call_go_on(tid);
    return true;
}
