/* Processes: children with memory of their own, children that borrow it, and what execve(2) keeps. SIGCHLD is held until the child
 * is waited for, so that it comes at the same place in every run. */
#define _GNU_SOURCE
#include "calls.h"

#include <sched.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { DEEPEST = 2, VFORKED_STACK = 1 << 16 };

extern char **environ;
void report_files(void);
void report_signals(void);

static unsigned long held;
static void hold(void) {
    unsigned long child = 1UL << (SIGCHLD - 1);
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, &child, &held, 8);
}
static void release(void) { syscall(SYS_rt_sigprocmask, SIG_SETMASK, &held, NULL, 8); }

void report_state(void) {
    report_files();
    report_signals();
    sigset_t none;
    sigemptyset(&none);
    stack_t stack = {0};
    sigaltstack(NULL, &stack);
    note(" stack %x", (unsigned)stack.ss_flags & SS_DISABLE); /* SS_AUTODISARM of a stack that is none is forgotten */
}

static void wait_for(pid_t child) {
    int status = 0;
    if (child < 0) {
        note(" %ld", outcome(-1));
        return;
    }
    pid_t got;
    while ((got = waitpid(child, &status, 0)) < 0 && errno == EINTR) continue;
    if (got == child) note(" status %x", (unsigned)(WIFSIGNALED(status) ? status & ~0x80 : status)); /* no core files in an enclave */
    else note(" no child %d", errno); /* SIGCHLD is ignored */
}

/* The child does the next lines, the parent goes on behind them. */
static void op_fork(const long *a) {
    unsigned lines = 1 + (unsigned)(a[0] % 8), first = next_line;
    next_line += lines;
    if (depth >= DEEPEST) {
        note(" skipped");
        return;
    }
    pid_t parent = getpid();
    hold();
    pid_t child = a[1] % 4 == 0 ? (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) : a[1] % 4 == 1 ? (pid_t)syscall(SYS_fork) : fork();
    if (child == 0) {
        release();
        depth++;
        note(" child of parent %d, looks", getppid() == parent);
        look(0, PAGES);
        note("\n");
        run_lines(first, lines);
        note("  child ends:");
        look(0, PAGES);
        if (a[2] % 8 == 7) abort();
        _exit((int)(a[2] % 200));
    }
    wait_for(child);
    release();
    look(0, PAGES);
}

/* Its end is a signal, or it stops and goes on first. */
static void op_child(const long *a) {
    static const int ends[] = {SIGKILL, SIGTERM, SIGSEGV, SIGABRT, SIGUSR1, SIGSYS, 40};
    int status = 0, end = PICK(ends, a[0]), ready[2];
    char byte;
    if (pipe(ready)) return;
    hold();
    pid_t child = fork();
    if (child == 0) {
        signal(end, SIG_DFL);
        if (a[1] % 4 == 3) prctl(PR_SET_PDEATHSIG, SIGKILL);
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        if (write(ready[1], "", 1) != 1) _exit(93);
        if (a[1] % 4 == 2) kill(getpid(), end);
        for (;;) sleep(1);
    }
    while (child > 0 && read(ready[0], &byte, 1) < 0 && errno == EINTR) continue;
    close(ready[0]);
    close(ready[1]);
    if (a[1] % 4 == 1) {
        kill(child, SIGSTOP);
        note(" stop %d", waitpid(child, &status, WUNTRACED) == child);
        note(" %x", (unsigned)status);
        kill(child, SIGCONT);
        note(" go %d", waitpid(child, &status, WCONTINUED) == child);
        note(" %x", (unsigned)status);
    }
    siginfo_t info = {0};
    if (a[1] % 4 != 2) kill(child, end);
    if (a[2] % 2) {
        note(" waitid %ld", outcome(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT)));
        note(" %d %d", info.si_code == CLD_DUMPED ? CLD_KILLED : info.si_code, info.si_status);
    }
    wait_for(child);
    release();
}

static void say_and_exec(const char *path) {
    char *words[] = {(char *)own_path, "report", NULL}, *variables[] = {"A=1", "B=", NULL};
    execve(path, words, variables);
    _exit(errno == ENOENT ? 44 : errno == EACCES ? 45 : errno == ENOEXEC ? 46 : 47);
}

static int says_nothing(void *path) {
    say_and_exec(path);
    return 1;
}

/* The child borrows the parent's memory until it executes or ends. */
static void op_borrow(const long *a) {
    static char stack[VFORKED_STACK] __attribute__((aligned(64)));
    static const char *const paths[] = {NULL, NULL, "/nonexistent/program", ".", "constant"};
    const char *path = PICK(paths, a[1]) ? PICK(paths, a[1]) : own_path;
    pid_t child = -1;
    int spawned = 0;
    note(" %ld", a[0] % 4);
    /* What a child that borrows memory sets for SIGSYS, in an enclave its parent has, too. */
    struct sigaction sys;
    sigaction(SIGSYS, NULL, &sys);
    hold();
    if (a[0] % 4 == 0) {
        child = vfork();
        if (child == 0) _exit(3);
    } else if (a[0] % 4 == 1) {
        child = vfork();
        if (child == 0) {
            if (a[2] % 2) dup2(CONSTANT_FILE, 77);
            say_and_exec(path);
        }
    } else if (a[0] % 4 == 2) {
        child = clone(says_nothing, stack + VFORKED_STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, (void *)path);
    } else {
        posix_spawnattr_t how;
        sigset_t defaults;
        sigfillset(&defaults);
        sigdelset(&defaults, SIGSYS);
        posix_spawnattr_init(&how);
        posix_spawnattr_setflags(&how, a[2] % 2 ? POSIX_SPAWN_SETSIGDEF : 0);
        posix_spawnattr_setsigdefault(&how, &defaults);
        char *words[] = {(char *)own_path, "report", NULL};
        spawned = posix_spawn(&child, path, NULL, &how, words, environ);
        if (spawned) child = -1;
    }
    if (child > 0) wait_for(child);
    note(" %d", spawned);
    sigaction(SIGSYS, &sys, NULL);
    release();
    look(0, PAGES);
}

/* This process goes on behind this line as a new program. */
static void op_execute(const long *a) {
    char line[16], level[16];
    if (depth >= DEEPEST) {
        note(" skipped");
        return;
    }
    snprintf(line, sizeof line, "%u", next_line);
    snprintf(level, sizeof level, "%d", depth + 1);
    char *words[] = {(char *)own_path, (char *)text_path, line, level, verbose ? "verbose" : NULL, NULL};
    char *bad = (char *)at((unsigned)(a[1] % PAGES)) + PAGE - 4;
    int doing = (int)(a[0] % 6);
    if (shielded && (doing == 0 || doing == 3)) doing = 2; /* whether a name is there, a shielded directory does not say: EACCES */
    switch (doing) {
    case 0: note(" %ld", outcome(execve(bad, words, environ))); break;
    case 1: note(" %ld", outcome(execve(own_path, (char **)bad, environ))); break;
    case 2: note(" %ld", outcome(execve("constant", words, environ))); break;
    case 3: note(" %ld", outcome(execve("missing/program", words, environ))); break;
    default: break;
    }
    if (doing < 4) return;
    note(" goes on\n");
    if (doing == 4) execve(own_path, words, environ);
    else syscall(SYS_execveat, AT_FDCWD, own_path, words, environ, 0);
    note(" %ld", outcome(-1));
}

/* What the processor holds must be there after a call, whichever way the call goes. */
static void op_registers(const long *a) {
    uint64_t kept[6], wide[4] = {1, 2, 3, 4}, wide_after[4] = {0}, result;
    uint64_t number = a[0] % 3 == 0 ? SYS_munmap : a[0] % 3 == 1 ? SYS_madvise : SYS_getppid;
    register uint64_t r8 __asm__("r8") = 8, r9 __asm__("r9") = 9, r10 __asm__("r10") = 10;
    __asm__ volatile("movdqu (%[wide]), %%xmm0\n\tmovdqu 16(%[wide]), %%xmm15\n\t"
                     "mov $0x1234, %%ebx\n\tmov $0x5678, %%r12d\n\tmov $0x9abc, %%r15d\n\t"
                     "syscall\n\t"
                     "movdqu %%xmm0, (%[after])\n\tmovdqu %%xmm15, 16(%[after])\n\t"
                     "mov %%rbx, (%[kept])\n\tmov %%r12, 8(%[kept])\n\tmov %%r15, 16(%[kept])\n\t"
                     : "=a"(result), "+r"(r8), "+r"(r9), "+r"(r10)
                     : "a"(number), "D"(1L), "S"(0L), "d"(0L), [wide] "r"(wide), [after] "r"(wide_after), [kept] "r"(kept)
                     : "rcx", "r11", "rbx", "r12", "r15", "xmm0", "xmm15", "memory");
    note(" %ld %lu %lu %lu %d %lx %lx %lx", number == SYS_getppid ? 0 : (long)result, r8, r9, r10, memcmp(wide, wide_after, sizeof wide), kept[0],
         kept[1], kept[2]);
}

static unsigned hash_of_arena(void) {
    volatile uint64_t hash = 0;
    for (volatile unsigned page = 0; page < PAGES; page++) {
        volatile uint64_t one = 7;
        here->jumps = 1;
        if (sigsetjmp(here->out, 1) == 0) one = hash_page(at(page));
        here->jumps = 0;
        hash = (hash ^ one) * 1099511628211ULL;
    }
    return (unsigned)(hash ^ hash >> 32);
}

/* A child of one thread while the others go on: it sees that thread's memory as it is, and what it changes stays its own. */
static void op_offspring(const long *a) {
    struct sigaction chosen;
    sigaction(SIGCHLD, NULL, &chosen);
    if (chosen.sa_handler != SIG_DFL) { /* it would come to any thread */
        note(" skipped");
        return;
    }
    unsigned before = hash_of_arena();
    pid_t child = a[0] % 2 ? fork() : (pid_t)syscall(SYS_fork);
    if (child == 0) {
        int same = hash_of_arena() == before;
        for (unsigned page = 0; page < PAGES; page++) {
            here->jumps = 1;
            if (here->page[page].kind == PRIVATE && sigsetjmp(here->out, 1) == 0) *(volatile long *)at(page) = a[1];
            here->jumps = 0;
        }
        _exit(same ? 3 : 4);
    }
    wait_for(child);
    note(" %d", hash_of_arena() == before);
}

static void op_waits(const long *a) {
    int status;
    note(" %ld", outcome(waitpid(-1, &status, WNOHANG)));
    note(" %ld", outcome(syscall(SYS_wait4, -1, at((unsigned)(a[0] % PAGES)), WNOHANG, NULL)));
    note(" %ld", outcome(waitid(P_ALL, 0, NULL, WEXITED | WNOHANG)));
}

static void op_names(const long *a) {
    char path[64] = {0};
    char *bad = (char *)at((unsigned)(a[0] % PAGES)) + PAGE - 8;
    note(" %ld", outcome(readlink("/proc/self/fd/1003", path, sizeof path)));
    note(" %ld", outcome(syscall(SYS_readlink, bad, path, sizeof path)));
    note(" %ld", outcome(syscall(SYS_readlink, "/dev/fd", bad, 40)));
    note(" %ld", outcome(syscall(SYS_readlink, "/proc/self/exe", at((unsigned)(a[0] % PAGES)), 4)));
    char *cut = (char *)at((unsigned)(a[1] % PAGES)) + PAGE - 1 - a[2] % 18;
    if (can_write(cut)) memcpy(cut, "/proc/self/exe and", (size_t)(1 + a[2] % 18));
    note(" %d", outcome(syscall(SYS_readlink, cut, path, sizeof path)) > 0);
    note(" %ld", outcome(readlinkat(DIRECTORY, "constant", path, sizeof path)));
    note(" %ld", outcome(readlink("/dev/fd", path, 0)));
    prctl(PR_SET_NAME, "renamed");
    note(" %ld %s", outcome(prctl(PR_GET_NAME, path)), path);
}

const struct operation process_operations[] = {
    {"fork", op_fork, 0},   {"child", op_child, 0}, {"borrow", op_borrow, 0}, {"execute", op_execute, 0}, {"registers", op_registers, 1},
    {"waits", op_waits, 0}, {"names", op_names, 0}, {"offspring", op_offspring, 1}, {NULL, NULL, 0},
};
