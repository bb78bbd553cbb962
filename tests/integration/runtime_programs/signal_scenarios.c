/* What signal(7) promises: masks, nesting, waiting, alternate stacks, information, timers, death by signal. */
#define _GNU_SOURCE
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "scenarios.h"

static volatile sig_atomic_t seen[65], depth, deepest;
static volatile int in_call;

static void count_signal(int number) { seen[number]++; }

static void on(int number, void (*function)(int), int flags) {
    struct sigaction action = {.sa_handler = function, .sa_flags = flags};
    sigemptyset(&action.sa_mask);
    if (sigaction(number, &action, NULL)) printf("sigaction %d: %d\n", number, errno);
}

static void show_mask(const char *where) {
    sigset_t now;
    sigprocmask(SIG_BLOCK, NULL, &now);
    printf("%s:", where);
    for (int i = 1; i < 65; i++)
        if (sigismember(&now, i) == 1) printf(" %d", i);
    printf("\n");
}

static sigset_t set_of(int a, int b) {
    sigset_t set;
    sigemptyset(&set);
    if (a) sigaddset(&set, a);
    if (b) sigaddset(&set, b);
    return set;
}

static void masks(void) {
    sigset_t set = set_of(SIGUSR1, SIGUSR2), old, full;
    on(SIGUSR1, count_signal, 0);
    show_mask("at first");
    sigprocmask(SIG_BLOCK, &set, &old);
    show_mask("two blocked");
    raise(SIGUSR1);
    sigset_t waiting;
    sigpending(&waiting);
    printf("pending %d handled %d\n", sigismember(&waiting, SIGUSR1), seen[SIGUSR1]);
    sigprocmask(SIG_SETMASK, &old, NULL);
    printf("after unblocking handled %d\n", seen[SIGUSR1]);
    sigfillset(&full);
    sigdelset(&full, SIGSYS); /* the runtime keeps SIGSYS open; everything else is as it was asked */
    sigprocmask(SIG_SETMASK, &full, NULL);
    show_mask("all");
    for (int how = 0; how < 4; how++) printf("how %d: %ld\n", how, result_of(sigprocmask(how, &old, NULL)));
    show_mask("at last");
    printf("bad size: %ld\n", result_of(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, 7)));
}

/* The same through syscall(2), which no patched site helps. */
static void raw_masks(void) {
    unsigned long set = 1UL << (SIGUSR1 - 1) | 1UL << (SIGKILL - 1) | 1UL << (SIGSTOP - 1), old = 0, now = 0;
    on(SIGUSR1, count_signal, 0);
    printf("%ld\n", result_of(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, &old, 8)));
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &now, 8);
    printf("before %#lx now %#lx\n", old, now);
    raise(SIGUSR1);
    printf("handled %d\n", seen[SIGUSR1]);
    printf("%ld\n", result_of(syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &set, NULL, 8)));
    printf("handled %d\n", seen[SIGUSR1]);
    printf("%ld\n", result_of(syscall(SYS_rt_sigprocmask, 7, &set, NULL, 8)));
}

static void nested(int number) {
    if (++depth > deepest) deepest = depth;
    void *p = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(p, number, 1 << 16);
    if (depth < 6) raise(number == SIGUSR1 ? SIGUSR2 : SIGUSR1);
    munmap(p, 1 << 16);
    seen[number]++;
    depth--;
}

static void nesting(void) {
    on(SIGUSR1, nested, SA_NODEFER);
    on(SIGUSR2, nested, SA_NODEFER);
    raise(SIGUSR1);
    printf("depth %d, %d and %d\n", deepest, seen[SIGUSR1], seen[SIGUSR2]);
    show_mask("after");
}

static void show_handler_mask(int number) {
    (void)number;
    show_mask("in handler");
}

static void handler_masks(void) {
    struct sigaction action = {.sa_handler = show_handler_mask}, old;
    action.sa_mask = set_of(SIGTERM, SIGHUP);
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    action.sa_flags = SA_NODEFER | SA_RESETHAND;
    sigaction(SIGUSR1, &action, &old);
    printf("old handler same %d flags %#x\n", old.sa_handler == show_handler_mask, old.sa_flags & ~0x04000000);
    raise(SIGUSR1);
    sigaction(SIGUSR1, NULL, &old);
    printf("reset %d\n", old.sa_handler == SIG_DFL);
    printf("kill %ld stop %ld zero %ld large %ld\n", result_of(sigaction(SIGKILL, &action, NULL)),
           result_of(sigaction(SIGSTOP, &action, NULL)), result_of(syscall(SYS_rt_sigaction, 0, &action, NULL, 8)),
           result_of(syscall(SYS_rt_sigaction, 65, &action, NULL, 8)));
}

static void detail(int number, siginfo_t *info, void *context) {
    ucontext_t *state = context;
    printf("signal %d code %d value %d mine %d mask has it %d\n", number, info->si_code, info->si_value.sival_int,
           info->si_pid == getpid(), sigismember(&state->uc_sigmask, number));
}

static void information(void) {
    struct sigaction action = {.sa_sigaction = detail, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGRTMIN + 3, &action, NULL);
    raise(SIGUSR1);
    kill(getpid(), SIGUSR1);
    sigset_t set = set_of(SIGRTMIN + 3, 0);
    sigprocmask(SIG_BLOCK, &set, NULL);
    for (int i = 0; i < 5; i++) sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = i});
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static jmp_buf away;

static void fault(int number, siginfo_t *info, void *context) {
    (void)context;
    printf("signal %d code %d at %p\n", number, info->si_code, info->si_addr);
    siglongjmp(away, 1);
}

static void faults(void) {
    struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO};
    int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    for (int i = 0; i < 5; i++) sigaction(numbers[i], &action, NULL);
    if (!sigsetjmp(away, 1)) *(volatile int *)16 = 1;
    char *page = mmap((void *)0x10000000, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (!sigsetjmp(away, 1)) *(volatile char *)page = 1;
    munmap(page, 4096);
    if (!sigsetjmp(away, 1)) puts(*(volatile char *)page ? "read" : "zero");
    show_mask("after");
}

static void wait_calls(void) {
    on(SIGUSR1, count_signal, 0);
    on(SIGALRM, count_signal, 0);
    sigset_t blocked = set_of(SIGUSR1, SIGALRM), none;
    sigemptyset(&none);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    struct timespec second = {1, 0}, now = {0, 0};
    int epoll = epoll_create1(0);
    struct epoll_event event;
    long outcome;
    raise(SIGUSR1);
    outcome = result_of(sigsuspend(&none));
    printf("sigsuspend %ld handled %d\n", outcome, seen[SIGUSR1]);
    raise(SIGUSR1);
    outcome = result_of(ppoll(NULL, 0, &second, &none));
    printf("ppoll %ld handled %d\n", outcome, seen[SIGUSR1]);
    raise(SIGUSR1);
    outcome = result_of(pselect(0, NULL, NULL, NULL, &second, &none));
    printf("pselect %ld handled %d\n", outcome, seen[SIGUSR1]);
    raise(SIGUSR1);
    outcome = result_of(epoll_pwait(epoll, &event, 1, 1000, &none));
    printf("epoll_pwait %ld handled %d\n", outcome, seen[SIGUSR1]);
    raise(SIGUSR1);
    outcome = result_of(ppoll(NULL, 0, &now, &blocked));
    printf("ppoll blocked %ld handled %d\n", outcome, seen[SIGUSR1]);
    outcome = result_of(pselect(0, NULL, NULL, NULL, &now, NULL));
    printf("pselect without mask %ld\n", outcome);
    outcome = result_of(sigtimedwait(&blocked, NULL, &second));
    printf("sigtimedwait %ld\n", outcome);
    setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {0, 20000}}, NULL);
    outcome = result_of(sigsuspend(&none));
    printf("sigsuspend by timer %ld handled %d\n", outcome, seen[SIGALRM]);
    show_mask("after");
}

static void pipe_with_mask(void) {
    int ends[2];
    if (pipe(ends)) return;
    struct pollfd one = {.fd = ends[0], .events = POLLIN};
    sigset_t none;
    sigemptyset(&none);
    if (write(ends[1], "x", 1) != 1) return;
    long outcome = result_of(ppoll(&one, 1, NULL, &none));
    printf("ppoll %ld events %d\n", outcome, one.revents);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(ends[0], &set);
    struct timespec limit = {5, 0};
    outcome = result_of(pselect(ends[0] + 1, &set, NULL, NULL, &limit, &none));
    printf("pselect %ld set %d\n", outcome, FD_ISSET(ends[0], &set) != 0);
}

static char *alternate;

static void on_stack(int number) {
    char here;
    int inside = &here >= alternate && &here < alternate + (1 << 16);
    printf("signal %d on the alternate stack %d\n", number, inside);
    void *p = malloc(300000);
    memset(p, 1, 300000);
    free(p);
    stack_t now;
    sigaltstack(NULL, &now);
    printf("flags %d\n", now.ss_flags);
}

static void alternate_stack(void) {
    alternate = malloc(1 << 16);
    stack_t stack = {.ss_sp = alternate, .ss_size = 1 << 16}, old;
    printf("sigaltstack %ld\n", result_of(sigaltstack(&stack, &old)));
    printf("before: flags %d\n", old.ss_flags);
    on(SIGUSR1, on_stack, SA_ONSTACK);
    on(SIGUSR2, on_stack, 0);
    raise(SIGUSR1);
    raise(SIGUSR2);
    syscall(SYS_mprotect, alternate, 0, PROT_READ); /* a trapped call while the stack is set but not in use */
    sigaltstack(NULL, &old);
    printf("after: same %d flags %d size %zu\n", old.ss_sp == alternate, old.ss_flags, old.ss_size);
}

/* Trapped calls must not need more of a small alternate stack than it has. */
static void small_alternate_stack(void) {
#ifdef _SC_SIGSTKSZ
    size_t size = (size_t)sysconf(_SC_SIGSTKSZ);
#else
    size_t size = 16384; /* musl: its SIGSTKSZ may be smaller than this processor's signal frame */
#endif
    char *memory = mmap(NULL, 1 << 17, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(memory, 0x5a, 1 << 17);
    alternate = memory + (1 << 16);
    stack_t stack = {.ss_sp = alternate, .ss_size = size};
    printf("sigaltstack %ld\n", result_of(sigaltstack(&stack, NULL)));
    void *p = (void *)syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    syscall(SYS_munmap, p, 4096);
    pid_t child = fork();
    if (child == 0) _exit(0);
    int status, damaged = 0;
    waitpid(child, &status, 0);
    for (char *at = memory; at < alternate; at++) damaged += *at != 0x5a;
    printf("child %d, bytes below the stack changed: %d\n", status, damaged);
}

static volatile long ticks;
static void tick(int number) {
    (void)number;
    ticks++;
    void *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *(char *)p = 1;
    munmap(p, 8192);
    setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {0, 100}}, NULL);
}

/* A timer 100 us after each end of its handler, which maps memory, while the program maps memory. Not a periodic timer:
   where a handler takes longer than the period, natively too, the program would never get on. */
static void timer_storm(void) {
    on(SIGALRM, tick, SA_RESTART);
    setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {0, 100}}, NULL);
    long wrong = 0;
    for (int i = 0; i < 3000 || ticks < 50; i++) {
        char *p = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        wrong += p[0] != 0 || p[65535] != 0;
        memset(p, i, 4096);
        p[65535] = 1;
        mprotect(p, 4096, PROT_READ);
        wrong += p[1] != (char)i;
        munmap(p, 65536);
        if (i % 300 == 0) {
            pid_t child = fork();
            if (child == 0) _exit(wrong != 0);
            int status;
            while (waitpid(child, &status, 0) < 0) continue;
            wrong += status != 0;
        }
    }
    signal(SIGALRM, SIG_IGN);
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    printf("wrong %ld enough ticks %d\n", wrong, ticks >= 50);
}

static void restarted_read(void) {
    int ends[2];
    char byte = 0;
    if (pipe(ends)) return;
    on(SIGALRM, count_signal, SA_RESTART);
    pid_t child = fork();
    if (child == 0) {
        usleep(80000);
        _exit(write(ends[1], "k", 1) != 1);
    }
    setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {0, 20000}}, NULL);
    long outcome = result_of(read(ends[0], &byte, 1));
    printf("read %ld byte %c alarms %d\n", outcome, byte, seen[SIGALRM]);
    waitpid(child, NULL, 0);
    on(SIGALRM, count_signal, 0);
    setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {0, 20000}}, NULL);
    printf("read %ld\n", result_of(read(ends[0], &byte, 1)));
    struct timespec left, wanted = {0, 900000000};
    setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {0, 20000}}, NULL);
    outcome = result_of(nanosleep(&wanted, &left));
    printf("nanosleep %ld left some %d\n", outcome, left.tv_nsec > 0);
}

static void timers(void) {
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    struct sigaction action = {.sa_sigaction = detail, .sa_flags = SA_SIGINFO};
    event.sigev_value.sival_int = 42;
    sigaction(SIGRTMIN, &action, NULL);
    printf("create %ld\n", result_of(timer_create(CLOCK_MONOTONIC, &event, &timer)));
    timer_settime(timer, 0, &(struct itimerspec){.it_value = {0, 10000000}}, NULL);
    sigset_t none;
    sigemptyset(&none);
    printf("sigsuspend %ld\n", result_of(sigsuspend(&none)));
    on(SIGALRM, count_signal, 0);
    printf("alarm %u\n", alarm(100));
    printf("alarm %u\n", alarm(0));
    on(SIGVTALRM, count_signal, 0);
    setitimer(ITIMER_VIRTUAL, &(struct itimerval){.it_value = {0, 5000}}, NULL);
    while (!seen[SIGVTALRM]) continue;
    puts("virtual time passed");
}

static void descriptor_signals(void) {
    sigset_t set = set_of(SIGUSR1, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, 0);
    raise(SIGUSR1);
    struct signalfd_siginfo info;
    printf("read %zd", read(fd, &info, sizeof info));
    printf(" signal %u\n", info.ssi_signo);
    if (fork() == 0) _exit(3);
    printf("read %zd", read(fd, &info, sizeof info));
    printf(" signal %u code %d status %d\n", info.ssi_signo, info.ssi_code, info.ssi_status);
}

static void death_of(int number) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        signal(number, SIG_DFL);
        raise(number);
        _exit(77);
    }
    waitpid(child, &status, WUNTRACED);
    if (WIFSTOPPED(status)) {
        printf("%d: stopped by %d\n", number, WSTOPSIG(status));
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
    }
    printf("%d: %s %d\n", number, WIFSIGNALED(status) ? "killed" : "exited", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

static void deaths(void) {
    for (int i = 1; i < 32; i++) death_of(i);
    death_of(SIGRTMIN + 1);
}

static void real_faults(void) {
    for (int kind = 0; kind < 4; kind++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            if (kind == 0) *(volatile int *)8 = 1;
            if (kind == 1) __builtin_trap();
            if (kind == 2) abort();
            if (kind == 3) __asm__ volatile("xor %%edx,%%edx; mov $1,%%eax; xor %%ecx,%%ecx; div %%ecx" ::: "eax", "ecx", "edx");
            _exit(0);
        }
        waitpid(child, &status, 0);
        printf("%d: signal %d\n", kind, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    }
}

static void stop_and_continue(void) {
    pid_t child = fork();
    int status;
    setpgid(child, child); /* SIGTSTP does not stop a member of an orphaned process group */
    if (child == 0)
        for (;;) pause();
    for (int i = 0; i < 3; i++) {
        kill(child, i == 1 ? SIGTSTP : SIGSTOP);
        waitpid(child, &status, WUNTRACED);
        printf("stopped %d by %d\n", WIFSTOPPED(status), WSTOPSIG(status));
        kill(child, SIGCONT);
        waitpid(child, &status, WCONTINUED);
        printf("continued %d\n", WIFCONTINUED(status));
    }
    kill(child, SIGTERM);
    waitpid(child, &status, 0);
    printf("ended by %d\n", WTERMSIG(status));
}

static void children_are_reported(void) {
    on(SIGCHLD, count_signal, SA_RESTART);
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) _exit(i);
        int status;
        while (waitpid(child, &status, 0) < 0) continue;
        if (WEXITSTATUS(status) != i) puts("wrong status");
    }
    printf("signals %d\n", seen[SIGCHLD] == 20);
    signal(SIGCHLD, SIG_IGN);
    if (fork() == 0) _exit(0);
    printf("wait %ld\n", result_of(wait(NULL)));
}

static void foreign_sigsys(void) {
    on(SIGSYS, count_signal, 0);
    raise(SIGSYS);
    kill(getpid(), SIGSYS);
    printf("handled %d\n", seen[SIGSYS]);
    struct sigaction old;
    sigaction(SIGSYS, NULL, &old);
    printf("mine %d\n", old.sa_handler == count_signal);
    signal(SIGSYS, SIG_IGN);
    raise(SIGSYS);
    printf("still here\n");
    free(malloc(1 << 20));
    signal(SIGSYS, SIG_DFL);
    raise(SIGSYS);
    printf("not reached\n");
}

static const struct scenario all[] = {
    SCENARIO(masks), SCENARIO(raw_masks), SCENARIO(nesting), SCENARIO(handler_masks), SCENARIO(information), SCENARIO(faults),
    SCENARIO(wait_calls), SCENARIO(pipe_with_mask), SCENARIO(alternate_stack), SCENARIO(small_alternate_stack),
    SCENARIO(timer_storm), SCENARIO(restarted_read), SCENARIO(timers), SCENARIO(descriptor_signals), SCENARIO(deaths),
    SCENARIO(real_faults), SCENARIO(stop_and_continue), SCENARIO(children_are_reported), SCENARIO(foreign_sigsys),
};

RUN_SCENARIOS(all)
