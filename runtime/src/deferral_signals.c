/* Signals of a deferred child. Those that its program does not handle do what they do. For each that it handles, the runtime's handler
 * stands in: it completes the child, gives the program's handlers back and sends the signal again. SIGSEGV is the runtime's. */
#include "deferral.h"

enum { SEGV = 11, KILL = 9, STOP = 19, IGNORE = 1, SIGINFO = 4, RESTORER = 0x04000000, ON_STACK = 0x08000000, SET_MASK = 2, MASK_SIZE = 8 };
enum { KEPT_FLAGS = 0x10000003 /* SA_RESTART, SA_NOCLDWAIT, SA_NOCLDSTOP */, BLOCK = 0, UNBLOCK = 1 };

extern const char rt_fault_entry[], rt_stand_in_entry[], rt_sigreturn[], rt_sigsys_entry[];

static long set_action(u64 signal, const struct kernel_action *action, struct kernel_action *old) {
    return SYS4(__NR_rt_sigaction, signal, action, old, MASK_SIZE);
}

static struct kernel_action stand_in(u64 signal, u64 flags) {
    const char *entry = signal == SEGV ? rt_fault_entry : rt_stand_in_entry;
    u64 no_defer = signal == SEGV ? 0x40000000 : 0; /* the runtime may fault while it answers a fault */
    return (struct kernel_action){addr_of(entry), SIGINFO | RESTORER | ON_STACK | no_defer | (flags & KEPT_FLAGS), addr_of(rt_sigreturn),
                                  ~(SIGSYS_BIT | SEGV_BIT)};
}

static bool is_ours(u64 signal) { return signal == SIGSYS_NUMBER || signal == KILL || signal == STOP; }

/* While a system call is answered, a page that is held back may be written to: SIGSEGV must not be blocked then. */
static void let_faults_into_traps(bool in) {
    struct kernel_action action;
    set_action(SIGSYS_NUMBER, NULL, &action);
    action.mask = in ? action.mask & ~SEGV_BIT : action.mask | SEGV_BIT;
    set_action(SIGSYS_NUMBER, &action, NULL);
}

void deferral_replace_signals(struct deferral *deferral) {
    const u64 faults = SEGV_BIT;
    for (u64 signal = 1; signal < DEFERRAL_SIGNALS; signal++) {
        struct kernel_action *action = &deferral->action[signal];
        deferral->replaced[signal] = false;
        if (is_ours(signal) || failed(set_action(signal, NULL, action))) continue;
        if (signal != SEGV && action->handler <= IGNORE) continue;
        const struct kernel_action other = stand_in(signal, action->flags);
        set_action(signal, &other, NULL);
        deferral->replaced[signal] = true;
    }
    let_faults_into_traps(true);
    SYS4(__NR_rt_sigprocmask, UNBLOCK, &faults, 0, MASK_SIZE);
}

void deferral_restore_signals(struct deferral *deferral) {
    for (u64 signal = 1; signal < DEFERRAL_SIGNALS; signal++)
        if (deferral->replaced[signal]) set_action(signal, &deferral->action[signal], NULL);
    let_faults_into_traps(false);
}

/* `old` is the runtime's own memory. */
long deferral_signal_action(u64 signal, const struct kernel_action *new, struct kernel_action *old) {
    struct deferral *deferral = deferral_now();
    if (signal >= DEFERRAL_SIGNALS || !signal || is_ours(signal)) return set_action(signal, new, old);
    struct kernel_action before = deferral->action[signal];
    bool replaced = deferral->replaced[signal];
    long error = replaced ? 0 : set_action(signal, NULL, &before);
    if (failed(error)) return error;
    if (old) *old = before;
    if (!new) return 0;
    bool replace = signal == SEGV || new->handler > IGNORE;
    const struct kernel_action other = stand_in(signal, new->flags);
    deferral->action[signal] = *new;
    deferral->action[signal].flags &= KNOWN_FLAGS;
    deferral->action[signal].mask &= ~KILL_AND_STOP;
    deferral->replaced[signal] = replace;
    return set_action(signal, replace ? &other : new, NULL);
}

long deferral_signal_mask(u64 how, const u64 *set, u64 *old, u64 *signals) {
    struct deferral *deferral = deferral_now();
    u64 before = *signals | deferral->segv_blocked, bits = set ? *set & ~SIGSYS_BIT : 0;
    if (set && how > SET_MASK) return -EINVAL;
    *old = before;
    if (!set) return 0;
    u64 after = how == BLOCK ? before | bits : how == UNBLOCK ? before & ~bits : bits;
    deferral->segv_blocked = after & SEGV_BIT;
    *signals = after & ~SEGV_BIT;
    return 0;
}

bool deferral_may_execute(void) {
    const struct deferral *deferral = deferral_now();
    return !deferral || (!deferral->segv_blocked && deferral->action[SEGV].handler != IGNORE);
}

void deferral_stand_in(int signal, void *info, struct trap_frame *frame); /* entry.S */

__attribute__((used)) void deferral_stand_in(int signal, void *info, struct trap_frame *frame) {
    deferral_complete_and_send(signal, info, frame);
}
