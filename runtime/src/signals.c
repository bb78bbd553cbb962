/* Signal calls. SIGSYS is the runtime's: a program must not block it (the kernel would kill it at its next intercepted call),
 * handle it or see that it is handled. Everything else goes to the kernel unchanged. */
#include "../shield/shield.h"
#include "access.h"
#include "call.h"
#include "deferral.h"
#include "state.h"

enum { MASK_SIZE = 8, BLOCK = 0, UNBLOCK = 1, SET = 2 };

static struct kernel_action sigsys_action; /* what the program believes it has set for SIGSYS */

static long swap_sigsys_action(const struct kernel_action *new, struct kernel_action *old) {
    struct kernel_action previous = sigsys_action;
    if (new) sigsys_action = *new;
    sigsys_action.flags &= KNOWN_FLAGS; /* as the kernel keeps it */
    sigsys_action.mask &= ~KILL_AND_STOP;
    if (old) *old = previous;
    return 0;
}

/* What the kernel would write goes to the runtime first: in a deferred child the program's memory may be held back. */
static long deferred_action(const struct call *call, const struct kernel_action *new, const u64 *signals) {
    struct kernel_action action = new ? *new : (struct kernel_action){0}, old;
    struct kernel_action *to = ptr_of(call->arg[2]);
    action.mask &= ~SIGSYS_BIT;
    long result = deferral_signal_action(call->arg[0], new ? &action : NULL, &old);
    if (!failed(result) && to) *to = old;
    deferral_leave(signals);
    return result;
}

long signal_action(struct call *call) {
    const u64 *a = call->arg;
    const struct kernel_action *new = ptr_of(a[1]);
    u64 signals;
    if (a[3] != MASK_SIZE) return -EINVAL;
    if (new && !can_read(a[1], sizeof *new)) return -EFAULT;
    if (a[2]) deferral_open(a[2], sizeof *new);
    if (a[0] == SIGSYS_NUMBER && a[2] && !can_write(a[2], sizeof *new)) return -EFAULT;
    if (a[0] == SIGSYS_NUMBER) return swap_sigsys_action(new, ptr_of(a[2]));
    if (deferral_now() && a[2] && !can_write(a[2], sizeof *new)) return -EFAULT;
    if (deferral_now() && deferral_enter(&signals)) return deferred_action(call, new, &signals);
    if (!new) return SYS4(__NR_rt_sigaction, a[0], 0, a[2], a[3]);
    struct kernel_action action = *new;
    action.mask &= ~SIGSYS_BIT;
    return SYS4(__NR_rt_sigaction, a[0], &action, a[2], a[3]);
}

/* In the SIGSYS handler the program's mask is the one the kernel saved; it takes effect when the handler returns. */
static long change_saved_mask(u64 *saved, u64 how, const u64 *set, u64 *old) {
    u64 before = *saved, bits = set ? *set & ~SIGSYS_BIT : 0;
    if (set && how > SET) return -EINVAL;
    if (set) *saved = how == BLOCK ? before | bits : how == UNBLOCK ? before & ~bits : bits;
    if (old) *old = before;
    return 0;
}

static long deferred_mask(const struct call *call, const u64 *set, u64 *signals) {
    u64 *to = ptr_of(call->arg[2]), old;
    long result = deferral_signal_mask(call->arg[0], set, &old, signals);
    if (!failed(result) && to) *to = old;
    deferral_leave(signals);
    return result;
}

long signal_mask(struct call *call) {
    const u64 *a = call->arg, *set = ptr_of(a[1]);
    u64 signals;
    if (a[3] != MASK_SIZE) return -EINVAL;
    if (set && !can_read(a[1], MASK_SIZE)) return -EFAULT;
    if (a[2]) deferral_open(a[2], MASK_SIZE);
    if ((call->frame || deferral_now()) && a[2] && !can_write(a[2], MASK_SIZE)) return -EFAULT;
    if (call->frame) return change_saved_mask(&call->frame->signals, a[0], set, ptr_of(a[2]));
    if (deferral_now() && deferral_enter(&signals)) return deferred_mask(call, set, &signals);
    u64 bits = set ? *set & ~SIGSYS_BIT : 0;
    return SYS4(__NR_rt_sigprocmask, a[0], set ? &bits : NULL, a[2], MASK_SIZE);
}

/* Calls that wait under a mask of their own: a handler that interrupts them runs under it, so SIGSYS must not be in it. */
void signal_wait(struct call *call) {
    u64 a[6];
    memcpy(a, call->arg, sizeof a);
    if (call->number == __NR_pselect6) { /* arg[5] points to {const sigset *, size} */
        const u64 *pair = ptr_of(a[5]);
        bool bad = !can_read(a[5], 2 * sizeof *pair) || (pair[0] && !can_read(pair[0], MASK_SIZE));
        if (bad) {
            call_replay(call, a, -1, NULL, 0); /* the kernel says what is wrong */
            return;
        }
        u64 mask = pair[0] ? *(const u64 *)ptr_of(pair[0]) & ~SIGSYS_BIT : 0;
        u64 data[3] = {0, pair[1], mask};
        call_replay(call, a, 5, data, sizeof data);
        u64 *copied = ptr_of(call->frame->r9);
        copied[0] = pair[0] ? addr_of(&copied[2]) : 0;
        return;
    }
    int at = call->number == __NR_rt_sigsuspend ? 0 : call->number == __NR_ppoll ? 3 : 4;
    if (!can_read(a[at], MASK_SIZE)) {
        call_replay(call, a, -1, NULL, 0);
        return;
    }
    u64 mask = *(const u64 *)ptr_of(a[at]) & ~SIGSYS_BIT;
    call_replay(call, a, at, &mask, sizeof mask);
}

/* A SIGSYS that somebody sent: the program's own action for it, as far as it has one. */
void signal_foreign_sigsys(int signal, void *info, struct trap_frame *frame) {
    if (sigsys_action.handler == 1) return; /* SIG_IGN */
    if (sigsys_action.handler > 1) {
        ((void (*)(int, void *, struct trap_frame *))ptr_of(sigsys_action.handler))(signal, info, frame);
        return;
    }
    struct kernel_action standard = {0};
    shield_before_death();
    SYS4(__NR_rt_sigaction, signal, &standard, 0, MASK_SIZE);
    SYS2(__NR_kill, SYS0(__NR_getpid), signal);
}
