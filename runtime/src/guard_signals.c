#include "guard_signals.h"

#include <linux/futex.h>
#include <linux/ptrace.h>

#include "call.h"
#include "guard_families.h"
#include "guard_keep.h"
#include "guard_lease.h"

enum { CHILD = 17, URGENT = 23, WINDOW = 28, STATUS_SIZE = 4096 };
enum { RESTART_SYS = 512, RESTART_ALWAYS, RESTART_NO_HANDLER, RESTART_BLOCK = 516 /* linux/errno.h */ };

static char status[STATUS_SIZE] BEHIND;

/* ---- calls that were interrupted */

/* Whether it has no time limit, or one by the clock, so that it may begin anew. */
static bool is_untimed(const struct registers *registers) {
    switch (registers->original_rax) {
    case __NR_poll: return (int)registers->rdx < 0;
    case __NR_futex: return ((int)registers->rsi & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET;
    case __NR_epoll_wait:
    case __NR_epoll_pwait: return (int)registers->r10 < 0;
    case __NR_epoll_pwait2: return !registers->r10;
    case __NR_rt_sigtimedwait: return !registers->rdx;
    case __NR_semop: return true;
    default: return false;
    }
}

/* The program has no handler that would have interrupted its call: it goes on as if nothing had been, as far as it can. True if it
 * shall wait for the rest of its time: recall.c. */
static bool let_call_go_on(long tid) {
    struct registers registers;
    if (failed(SYS4(__NR_ptrace, PTRACE_GETREGS, tid, 0, &registers)) || (long)registers.original_rax < 0) return false;
    long result = (long)registers.rax;
    bool anew = result == -RESTART_SYS || result == -RESTART_NO_HANDLER;
    if ((result == -RESTART_BLOCK || result == -EINTR) && is_untimed(&registers)) anew = true;
    bool timed = !anew && result == -RESTART_BLOCK;
    if (!anew && !timed) return false;
    registers.rax = (u64)-RESTART_ALWAYS;
    if (timed) registers.original_rax = __NR_restart_syscall;
    return !failed(SYS4(__NR_ptrace, PTRACE_SETREGS, tid, 0, &registers)) && timed;
}

static u64 give_recall(long tid, struct signal_info *info, u64 then) {
    *info = (struct signal_info){.signal = SIGSYS_NUMBER, .error = (int)then, .code = GUARD_RECALL};
    if (let_call_go_on(tid)) info->user = GUARD_TIMED;
    return failed(SYS4(__NR_ptrace, PTRACE_SETSIGINFO, tid, 0, info)) ? then : SIGSYS_NUMBER;
}

/* ---- what would end or stop it */

/* Of a line of hexadecimal digits. */
static bool has_bit(const char *name, u64 signal) {
    const char *at = status;
    while (*at && !starts_with(at, name)) at++;
    at += *at ? strlen(name) : 0;
    u64 bits = 0;
    for (; (*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'f'); at++) bits = bits << 4 | (u64)(*at <= '9' ? *at - '0' : *at - 'a' + 10);
    return bits >> (signal - 1) & 1;
}

/* Asked of /proc: where root has put something else there, more is lost by the signal, or a call gets EINTR. */
static bool has_default_action(long tid, u64 signal) {
    char path[40];
    size_t at = append(path, 0, sizeof path, "/proc/");
    at = append_number(path, at, sizeof path, (u64)tid);
    append(path, at, sizeof path, "/status");
    long fd = SYS3(__NR_open, path, READ_ONLY | CLOSE_ON_EXEC, 0);
    long n = failed(fd) ? 0 : SYS3(__NR_read, fd, status, sizeof status - 1);
    if (!failed(fd)) SYS1(__NR_close, fd);
    status[n > 0 ? n : 0] = 0;
    return n > 0 && !has_bit("\nSigIgn:\t", signal) && !has_bit("\nSigCgt:\t", signal);
}

static bool is_stop(u64 signal) { return signal >= STOP && signal <= STOP_LAST; }

/* Faults are not put off: where they happened they would happen again, whether or not a recall can be taken there. */
static bool may_end_or_stop(u64 signal) {
    const u64 harmless = 1UL << CHILD | 1UL << CONTINUE | 1UL << URGENT | 1UL << WINDOW;
    const u64 faults = 1UL << 4 /* SIGILL */ | 1UL << 5 /* SIGTRAP */ | 1UL << 7 /* SIGBUS */ | 1UL << 8 /* SIGFPE */ | 1UL << 11 /* SIGSEGV */;
    return signal > 63 || !((harmless | faults) >> signal & 1);
}

/* Between the two the family gets no new lease, and others do not leave to it what is to be committed. */
static void announce(u32 tid, u64 signal) {
    if (is_stop(signal)) guard_families_stopping(tid, true);
    else (void)!guard_families_staying(tid);
}

static u64 let_after_recall(long tid, u64 signal) {
    struct signal_info info;
    if (failed(SYS4(__NR_ptrace, PTRACE_GETSIGINFO, tid, 0, &info))) return signal;
    if (info.code == GUARD_RECALL) {
        guard_families_stopping((u32)tid, false);
        info.code = 0;
        SYS4(__NR_ptrace, PTRACE_SETSIGINFO, tid, 0, &info);
        return signal;
    }
    if (signal == CONTINUE) guard_families_stopping((u32)tid, false);
    bool matters = guard_lease_is_holders((u32)tid) || !is_stop(signal);
    if (!matters || !may_end_or_stop(signal) || !has_default_action(tid, signal)) return signal;
    announce((u32)tid, signal);
    return give_recall(tid, &info, signal);
}

/* ---- recalls */

/* Over the limit of queued signals (RLIMIT_SIGPENDING) the kernel sends it without a word of whose it is. */
static bool is_recall(const struct signal_info *info) {
    return info->code == GUARD_RECALL || (guard_lease_is_wanted() && !info->code && !info->process && !info->user);
}

u64 guard_signals_let(long tid, u64 signal) {
    struct signal_info info;
    if (signal != SIGSYS_NUMBER) return guard_has_roots() ? let_after_recall(tid, signal) : signal;
    if (failed(SYS4(__NR_ptrace, PTRACE_GETSIGINFO, tid, 0, &info)) || !is_recall(&info)) return signal;
    if (info.error && guard_families_goes((u32)tid)) return give_recall(tid, &info, (u64)info.error); /* it could not be taken before */
    return guard_lease_is_wanted() && guard_lease_is_holders((u32)tid) ? give_recall(tid, &info, 0) : 0;
}
