/* Signals between fork(2) and exec or exit. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "scenarios.h"

static volatile int handled, handled_on_stack;
static char other_stack[64 << 10];
static sigjmp_buf again;

static int ended(pid_t child) {
    int status = -1;
    while (waitpid(child, &status, __WALL) < 0 && errno == EINTR) continue;
    return status;
}

static void note(int signal) {
    char here;
    handled += signal;
    handled_on_stack = &here > other_stack && &here < other_stack + sizeof other_stack;
}

static void handle(int signal, void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigemptyset(&action.sa_mask);
    sigaction(signal, &action, NULL);
}

/* Each kind of signal that reaches the child before it does anything else. */
static void signals_in_the_child(void) {
    static const int kinds[] = {SIGUSR1, SIGTERM, SIGCHLD, SIGSEGV, SIGPIPE, SIGALRM, SIGBUS, SIGSYS};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (int how = 0; how < (kinds[i] == SIGSYS ? 3 : 4); how++) { /* default, ignored, handled, blocked and handled */
            pid_t child = fork();
            if (child) {
                printf("signal %d how %d: status %d\n", kinds[i], how, ended(child));
                continue;
            }
            sigset_t set, pending;
            sigemptyset(&set), sigaddset(&set, kinds[i]);
            if (how == 1) signal(kinds[i], SIG_IGN);
            if (how >= 2) handle(kinds[i], note, 0);
            if (how == 3) sigprocmask(SIG_BLOCK, &set, NULL);
            kill(getpid(), kinds[i]);
            int before = handled, waits = 0;
            if (how == 3) {
                sigpending(&pending);
                waits = sigismember(&pending, kinds[i]);
                sigprocmask(SIG_UNBLOCK, &set, NULL);
            }
            _exit(100 * (how == 3) + 10 * waits + (before == kinds[i]) + 2 * (handled == kinds[i]));
        }
}

/* Handlers and masks that the parent had are the child's. */
static void signals_are_inherited(void) {
    static const int kinds[] = {SIGUSR1, SIGSEGV, SIGCHLD, SIGTERM, 40};
    handle(SIGUSR1, note, SA_RESTART), handle(SIGSEGV, note, SA_ONSTACK | SA_NODEFER), signal(SIGTERM, SIG_IGN), handle(40, note, 0);
    sigset_t set;
    sigemptyset(&set), sigaddset(&set, SIGSEGV), sigaddset(&set, SIGCHLD), sigaddset(&set, 40);
    sigprocmask(SIG_SETMASK, &set, NULL);
    stack_t stack = {.ss_sp = other_stack, .ss_size = sizeof other_stack}, seen;
    sigaltstack(&stack, NULL);
    pid_t child = fork();
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct sigaction action;
        sigaction(kinds[i], NULL, &action);
        sigprocmask(SIG_BLOCK, NULL, &set);
        if (!child)
            printf("signal %d: %s flags %x blocked %d\n", kinds[i], action.sa_handler == note ? "note" : action.sa_handler == SIG_IGN ? "ignored" : "default",
                   action.sa_flags & ~0x04000000, sigismember(&set, kinds[i]));
    }
    if (child) {
        printf("status %d\n", ended(child));
        return;
    }
    sigaltstack(NULL, &seen);
    printf("stack %d size %d flags %d\n", seen.ss_sp == other_stack, seen.ss_size == sizeof other_stack, seen.ss_flags);
    raise(40), raise(SIGSEGV), raise(SIGUSR1);
    printf("handled %d on stack %d\n", handled, handled_on_stack);
    sigemptyset(&set), sigprocmask(SIG_SETMASK, &set, NULL);
    printf("handled %d\n", handled);
    handle(SIGUSR2, note, SA_ONSTACK), raise(SIGUSR2);
    printf("handled %d on stack %d\n", handled, handled_on_stack);
    _exit(0);
}

static void jump(int signal, siginfo_t *info, void *context) {
    (void)context;
    printf("signal %d code %d address %d\n", signal, info->si_code, info->si_addr == (void *)0x1234);
    siglongjmp(again, 1);
}

/* A fault of the child's own is its own, on the stack that it asked for, at its first instruction and again. */
static void faults_in_the_child(void) {
    stack_t stack = {.ss_sp = other_stack, .ss_size = sizeof other_stack};
    sigaltstack(&stack, NULL);
    struct sigaction action = {.sa_sigaction = jump, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGSEGV, &action, NULL);
    char *reading = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (volatile int how = 0; how < 3; how++) {
        pid_t child = fork();
        if (child) {
            printf("how %d status %d\n", how, ended(child));
            continue;
        }
        for (volatile int i = 0; i < 2; i++)
            if (!sigsetjmp(again, 1)) {
                if (how == 0) *(volatile char *)0x1234 = 1;
                if (how == 1) (void)*(volatile char *)0x1234;
                if (how == 2) *(volatile char *)reading = 1;
            }
        signal(SIGSEGV, SIG_DFL);
        *(volatile char *)reading = 1;
        _exit(1);
    }
}

static void fork_here(int signal) {
    pid_t child = fork();
    if (!child) {
        note(signal);
        return;
    }
    printf("handler: status %d\n", ended(child));
}

/* The child goes on in the handler, and returns from it. */
static void fork_in_a_handler(void) {
    stack_t stack = {.ss_sp = other_stack, .ss_size = sizeof other_stack};
    pid_t self = getpid();
    for (int how = 0; how < 3; how++) {
        if (how) sigaltstack(&stack, NULL);
        handle(SIGUSR1, fork_here, how == 2 ? SA_ONSTACK : 0);
        raise(SIGUSR1);
        if (getpid() != self) {
            sigset_t set;
            sigprocmask(SIG_BLOCK, NULL, &set);
            _exit(handled + 100 * sigismember(&set, SIGUSR1));
        }
    }
    printf("parent %d\n", handled);
}

static void exec_keeps_the_mask(void) {
    for (int how = 0; how < 2; how++) {
        pid_t child = fork();
        if (!child) {
            sigset_t set;
            sigemptyset(&set), sigaddset(&set, SIGUSR2), sigaddset(&set, SIGSEGV);
            if (how) sigprocmask(SIG_SETMASK, &set, NULL), signal(SIGSEGV, SIG_IGN), handle(SIGHUP, note, 0);
            execl("/bin/grep", "grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status", NULL);
            _exit(1);
        }
        printf("status %d\n", ended(child));
    }
}

/* A reader that is gone: by default it kills, handled it is seen once. */
static void writing_to_nobody(void) {
    for (int how = 0; how < 3; how++) {
        int ends[2];
        if (pipe(ends)) return;
        close(ends[0]);
        pid_t child = fork();
        if (!child) {
            if (how) handle(SIGPIPE, how == 1 ? SIG_IGN : note, 0);
            long n = result_of(write(ends[1], "x", 1));
            _exit(handled * 10 + (n == -EPIPE));
        }
        printf("how %d status %d\n", how, ended(child));
        close(ends[1]);
    }
}

static void chldwait(int how) {
    struct sigaction action = {.sa_handler = how ? note : SIG_IGN, .sa_flags = how ? SA_NOCLDSTOP : SA_NOCLDWAIT};
    sigaction(SIGCHLD, &action, NULL);
    pid_t child = fork();
    if (!child) _exit(3);
    errno = 0;
    int status = 0;
    long result = waitpid(child, &status, 0);
    printf("how %d: %d errno %d status %d handled %d\n", how, result == child, errno, status, handled);
}

static void reaping_by_itself(void) {
    chldwait(0);
    chldwait(1);
}

static const struct scenario all[] = {
    SCENARIO(signals_in_the_child),
    SCENARIO(signals_are_inherited),
    SCENARIO(faults_in_the_child),
    SCENARIO(fork_in_a_handler),
    SCENARIO(exec_keeps_the_mask),
    SCENARIO(writing_to_nobody),
    SCENARIO(reaping_by_itself),
};

RUN_SCENARIOS(all)
