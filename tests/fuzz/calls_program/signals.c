/* Signals: handlers, masks, faults, and what a handler may do. Bits of SIGSYS are left out of every mask: it cannot be blocked
 * in an enclave. */
#define _GNU_SOURCE
#include "calls.h"

#include <sys/signalfd.h>
#include <ucontext.h>

enum { STACK_SIZE = 1 << 16, HOOKS = 65 };

static const int numbers[] = {SIGHUP, SIGINT, SIGUSR1, SIGUSR2, SIGALRM, SIGTERM, SIGCHLD, SIGURG, SIGWINCH, SIGPIPE, SIGFPE, SIGILL,
                              SIGTRAP, SIGSYS, 34, 35, 63, 64};
static char other_stack[STACK_SIZE] __attribute__((aligned(64)));
static volatile int nested;
static struct {
    int what;
    unsigned page;
} hooks[HOOKS];

struct action { /* struct sigaction of the kernel */
    void *handler;
    unsigned long flags;
    void *restorer;
    unsigned long mask;
};

static unsigned long without_sys(unsigned long mask) { return mask & ~(1UL << (SIGSYS - 1)); }
static unsigned long some_mask(long a) {
    unsigned long mask = 0;
    for (unsigned i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (a >> i & 1) mask |= 1UL << (numbers[i] - 1);
    return without_sys(mask) & ~(1UL << (SIGFPE - 1)) & ~(1UL << (SIGILL - 1));
}

static unsigned long mask_now(void) {
    unsigned long mask = 0;
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, 8);
    return mask;
}

/* raise(3) may go to the thread that the C library remembers: in a child of a bare clone(2) that is its parent. */
static void raise_here(int signal) { syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), signal); }

static void run_hook(int signal, ucontext_t *context) {
    void *page = at(hooks[signal].page);
    switch (hooks[signal].what) {
    case 1: note(" mapped %d", mmap(page, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page); break;
    case 2: note(" unmapped %d", munmap(page, PAGE)); break;
    case 3: sigaddset(&context->uc_sigmask, SIGUSR2); break;
    case 4: sigdelset(&context->uc_sigmask, SIGUSR1); break;
    case 5: raise_here(SIGUSR2); break;
    case 6: note(" protected %ld", outcome(mprotect(page, PAGE, PROT_READ | PROT_WRITE))); break;
    default: break;
    }
    if (hooks[signal].what == 1 || hooks[signal].what == 2)
        here->page[hooks[signal].page] = (struct page){.origin = ++here->origins, .kind = hooks[signal].what == 1 ? PRIVATE : NOTHING, .was_writable = 1};
}

/* Timers call it at any time: then nothing may be told, for the moment is another one in each run. */
static void handle(int signal, siginfo_t *info, void *context) {
    char here_on_stack;
    int kept = errno;
    if (here->jumps && (signal == SIGSEGV || signal == SIGBUS)) siglongjmp(here->out, 1);
    if ((signal == SIGSEGV || signal == SIGBUS) && info->si_code > 0) _exit(94); /* a fault of this program itself */
    if (info->si_code == SI_KERNEL || info->si_code == SI_TIMER) return;
    nested++;
    int own = info->si_code == SI_USER || info->si_code == SI_QUEUE || info->si_code == SI_TKILL ? info->si_pid == getpid() : -1;
    int on_other = &here_on_stack >= other_stack && &here_on_stack < other_stack + STACK_SIZE;
    int code = signal == SIGCHLD && info->si_code == CLD_DUMPED ? CLD_KILLED : info->si_code;
    if (signal == SIGSYS) { /* the runtime calls it, on its own stack and with all signals blocked */
        note(" {%d code %d own %d}", signal, code, own);
        nested--;
        errno = kept;
        return;
    }
    note(" {%d code %d own %d value %d other %d mask %lx", signal, code, own, info->si_code == SI_QUEUE ? info->si_value.sival_int : 0,
         on_other, without_sys(mask_now()));
    if (nested < 4) run_hook(signal, context);
    note("}");
    nested--;
    errno = kept;
}

static void catch_faults(void) {
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
}

__attribute__((constructor)) static void begin(void) { catch_faults(); }

static void note_action(const struct action *old) {
    const char *what = old->handler == (void *)SIG_DFL ? "default" : old->handler == (void *)SIG_IGN ? "ignore" : "handler";
    note(" was %s %lx %lx", what, old->flags & ~0x04000000UL /* SA_RESTORER */, without_sys(old->mask));
}

static void op_action(const long *a) {
    static const int flags[] = {SA_SIGINFO, SA_SIGINFO | SA_RESTART, SA_SIGINFO | SA_NODEFER, SA_SIGINFO | SA_ONSTACK,
                                SA_SIGINFO | (int)SA_RESETHAND, SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    int signal = PICK(numbers, a[0]);
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = PICK(flags, a[2])}, old;
    unsigned long mask = some_mask(a[3]);
    memcpy(&action.sa_mask, &mask, 8);
    if (a[1] % 4 == 0) action.sa_handler = a[1] % 8 ? SIG_IGN : SIG_DFL;
    note(" %d how %ld %ld", signal, a[1] % 4, outcome(sigaction(signal, a[4] % 4 ? &action : NULL, &old)));
    struct action seen = {0};
    note(" %ld", outcome(syscall(SYS_rt_sigaction, signal, NULL, &seen, 8)));
    note_action(&seen);
    hooks[signal].what = (int)(a[5] % 12);
    hooks[signal].page = (unsigned)(a[5] / 12 % PAGES);
}

/* Of words in the arena: whether they can be read and written is the kernel's word. */
static void op_action_at(const long *a) {
    int signal = PICK(numbers, a[0]);
    int cut = a[2] % 3 == 0 && signal != SIGSYS; /* of that one nothing is written if not all of it can be */
    long *place = (long *)((char *)at((unsigned)(a[1] % PAGES)) + (cut ? PAGE - 16 : 64)), old_set = 0;
    long result = 0;
    switch (a[3] % 7) {
    case 0: result = syscall(SYS_rt_sigaction, signal, NULL, place, 8); break;
    case 1: result = syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, place, 8); break;
    case 2: result = syscall(SYS_rt_sigaction, signal, NULL, place, 4); break;
    case 3: result = syscall(SYS_rt_sigprocmask, 5 + a[4] % 2, &old_set, NULL, 8); break;
    case 4: result = syscall(SYS_rt_sigprocmask, SIG_BLOCK, &old_set, place, 16); break;
    case 5: result = syscall(SYS_rt_sigpending, place, 8); break;
    default: result = syscall(SYS_rt_sigaction, a[4] % 2 ? SIGKILL : 65, &old_set, NULL, 8); break;
    }
    note(" %ld %ld", a[3] % 7, outcome(result));
    if (here->is_thread) return;
    look((unsigned)(a[1] % PAGES), 1);
}

static void op_mask(const long *a) {
    unsigned long set = some_mask(a[1]), old = 0, after;
    int how = (int)(a[0] % 3);
    long result = a[5] % 2 ? sigprocmask(how, (sigset_t *)&set, NULL) : syscall(SYS_rt_sigprocmask, how, &set, &old, 8);
    after = mask_now();
    note(" how %d set %lx %ld old %lx now %lx", how, set, outcome(result), without_sys(old), without_sys(after));
}

/* Whether the program would survive it. */
static int is_lethal(int signal) {
    struct sigaction action = {0}; /* musl tells nothing of its own signals */
    sigaction(signal, NULL, &action);
    int harmless = signal == SIGCHLD || signal == SIGURG || signal == SIGWINCH;
    return action.sa_handler == SIG_DFL && !harmless;
}

static void op_raise(const long *a) {
    int signal = PICK(numbers, a[0]);
    union sigval value = {.sival_int = (int)a[2]};
    if (is_lethal(signal) && (here->is_thread || a[3] % 16)) {
        note(" skipped");
        return;
    }
    note(" %d", signal);
    if (!here->is_thread && a[1] % 4 == 0) kill(getpid(), signal);
    else if (here->is_thread || a[1] % 4 != 2) raise_here(signal);
    else sigqueue(getpid(), signal, value);
}

static void op_pending(const long *a) {
    unsigned long set = 0;
    (void)a;
    syscall(SYS_rt_sigpending, &set, 8);
    note(" %lx", set);
}

/* Ends only if something is pending that the mask lets through and that is handled. */
static void op_suspend(const long *a) {
    unsigned long mask = some_mask(a[0]), pending = 0;
    syscall(SYS_rt_sigpending, &pending, 8);
    int ends = 0;
    for (int signal = 1; signal < 65; signal++) {
        struct sigaction action = {0};
        if (signal == SIGSYS || !((pending & ~mask) >> (signal - 1) & 1) || (signal >= 32 && signal < 34)) continue;
        sigaction(signal, NULL, &action);
        if (action.sa_handler == SIG_DFL) ends -= 100;
        else if (action.sa_handler != SIG_IGN) ends++;
    }
    if (ends <= 0) {
        note(" skipped");
        return;
    }
    note(" %ld now %lx", outcome(syscall(SYS_rt_sigsuspend, &mask, 8)), without_sys(mask_now()));
}

static void op_take(const long *a) {
    unsigned long set = some_mask(a[0]);
    struct timespec now = {0, 0};
    siginfo_t info = {0};
    if (a[1] % 3 == 0) {
        struct signalfd_siginfo told = {0};
        int fd = (int)syscall(SYS_signalfd4, -1, &set, 8, O_NONBLOCK | O_CLOEXEC);
        long got = outcome(read(fd, &told, sizeof told));
        note(" signalfd %ld %u %d", got, told.ssi_signo, told.ssi_code);
        close(fd);
        return;
    }
    long got = outcome(syscall(SYS_rt_sigtimedwait, &set, &info, &now, 8));
    note(" %ld code %d", got, got > 0 ? info.si_code : 0);
}

static void op_other_stack(const long *a) {
    static const int flags[] = {0, 0, SS_DISABLE, (int)(1U << 31) /* SS_AUTODISARM */, SS_ONSTACK, 77};
    stack_t wanted = {.ss_sp = other_stack, .ss_size = a[1] % 8 ? STACK_SIZE : 100, .ss_flags = PICK(flags, a[0])}, old = {0};
    note(" %ld", outcome(sigaltstack(a[2] % 4 ? &wanted : NULL, &old)));
    unsigned shown = old.ss_flags & SS_DISABLE ? SS_DISABLE : (unsigned)old.ss_flags; /* SS_AUTODISARM of none is forgotten */
    note(" old %d %x %zu", old.ss_sp == other_stack, shown, old.ss_size);
}

/* Reads or writes one word; SIGSEGV and SIGBUS are told. The code says whether something is mapped there; in an enclave all
 * memory stands in a reservation, so what is not mapped is told as not accessible. */
static void tell(int signal, siginfo_t *info, void *context) {
    (void)context;
    long offset = (char *)info->si_addr - here->arena;
    int code = info->si_code;
    if (signal == SIGSEGV && code == SEGV_ACCERR && !is_mapped((unsigned)(offset / PAGE), 1)) code = SEGV_MAPERR;
    note(" fault %d code %d at %ld", signal, code, offset);
    siglongjmp(here->out, 1);
}

static void op_access(const long *a) {
    struct sigaction action = {.sa_sigaction = tell, .sa_flags = SA_SIGINFO | SA_NODEFER | (a[3] % 2 ? SA_ONSTACK : 0)}, old[2];
    volatile long *word = (long *)((char *)at(first_of(a)) + a[1] % (PAGE / 8) * 8);
    sigaction(SIGSEGV, &action, &old[0]);
    sigaction(SIGBUS, &action, &old[1]);
    if (sigsetjmp(here->out, 1) == 0) {
        if (a[2] % 2) *word = a[4];
        note(" %lx", *word);
    }
    sigaction(SIGSEGV, &old[0], NULL);
    sigaction(SIGBUS, &old[1], NULL);
}

/* The same by threads and without telling where: whoever waits for signals elsewhere gets none of these. */
static void op_write(const long *a) {
    here->jumps = 1;
    if (sigsetjmp(here->out, 1) == 0) *(volatile long *)((char *)at(first_of(a)) + a[1] % (PAGE / 8) * 8) = a[2];
    else note(" fault");
    here->jumps = 0;
}

void report_signals(void);
void report_signals(void) {
    unsigned long pending = 0;
    syscall(SYS_rt_sigpending, &pending, 8);
    note(" mask %lx pending %lx", without_sys(mask_now()), pending);
    for (int signal = 1; signal < 65; signal++) {
        struct action seen = {0};
        if (signal == SIGSYS) continue; /* that it is ignored is forgotten by execve(2) */
        if (syscall(SYS_rt_sigaction, signal, NULL, &seen, 8) == 0 && seen.handler == (void *)SIG_IGN) note(" ignored %d", signal);
    }
}

const struct operation signal_operations[] = {
    {"action", op_action, 0}, {"action_at", op_action_at, 1}, {"mask", op_mask, 1},   {"raise", op_raise, 1},
    {"pending", op_pending, 0}, {"suspend", op_suspend, 0}, {"take", op_take, 0},     {"other_stack", op_other_stack, 0},
    {"access", op_access, 0}, {"write", op_write, 1},       {NULL, NULL, 0},
};
