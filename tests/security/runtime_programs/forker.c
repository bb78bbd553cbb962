/* A program whose children have nothing of their own yet, for attacks on just that.
 *
 * usage: forker hold      forks a child that computes without a system call, prints "child PID ADDRESS", and waits for a line
 *        forker loop N    forks N times; each child looks whether its memory changes while its parent goes on; prints "wrong N"
 *        forker open      the child asks for what the runtime never gives */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORDS = 1 << 16, LOOKS = 200 };

static volatile unsigned *words;

static int all_are(unsigned value) {
    int wrong = 0;
    for (int i = 0; i < WORDS; i++) wrong += words[i] != value;
    return !wrong;
}

static void fill(unsigned value) {
    for (int i = 0; i < WORDS; i++) words[i] = value;
}

static int hold(void) {
    volatile unsigned *end = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status = 0;
    fill(0x5ec8e7);
    pid_t child = fork();
    if (!child) {
        int same = 1;
        while (!*end) same &= all_are(0x5ec8e7);
        _exit(same ? 7 : 8);
    }
    printf("child %d %p\n", child, (void *)words);
    fflush(stdout);
    getchar();
    fill(1);
    *end = 1;
    waitpid(child, &status, 0);
    printf("status %d\n", status);
    return 0;
}

static int loop(int count) {
    int wrong = 0;
    for (int i = 0; i < count; i++) {
        fill((unsigned)i);
        pid_t child = fork();
        if (!child) {
            int same = 1;
            for (int look = 0; look < LOOKS; look++) same &= all_are((unsigned)i);
            _exit(same ? 0 : 1);
        }
        fill(~0U);
        int status = -1;
        waitpid(child, &status, 0);
        wrong += status != 0;
    }
    printf("wrong %d\n", wrong);
    return 0;
}

static long raw(long number, long a, long b) { return syscall(number, a, b, 0L, 0L, 0L); }

/* The first of each of these is in a child that is still deferred. */
static int open_up(void) {
    for (int how = 0; how < 4; how++) {
        pid_t child = fork();
        if (!child) {
            long result = how == 0   ? raw(SYS_prctl, PR_SET_DUMPABLE, 1)
                          : how == 1 ? raw(SYS_prctl, PR_SET_DUMPABLE | 1L << 32, 1)
                          : how == 2 ? raw(SYS_clone, CLONE_UNTRACED | CLONE_VM | SIGCHLD, 0)
                                     : raw(SYS_userfaultfd, 0, 0);
            if (how == 2 && result == 0) for (;;) pause();
            printf("how %d: %s dumpable %d\n", how, result < 0 ? "refused" : "taken", prctl(PR_GET_DUMPABLE));
            fflush(stdout);
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
    return 0;
}

int main(int argc, char **argv) {
    words = mmap(NULL, WORDS * sizeof *words, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (argc == 2 && !strcmp(argv[1], "hold")) return hold();
    if (argc == 3 && !strcmp(argv[1], "loop")) return loop(atoi(argv[2]));
    if (argc == 2 && !strcmp(argv[1], "open")) return open_up();
    return 2;
}
