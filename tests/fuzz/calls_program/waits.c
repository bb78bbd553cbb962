/* Calls that wait, interrupted by a timer. It rings until the call has ended, so that none is missed between two instructions;
 * how often it rang is nobody's business. */
#define _GNU_SOURCE
#include "calls.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

enum { EVERY = 1500 /* microseconds */ };

static volatile int rang;
static void ring(int signal) {
    (void)signal;
    rang = 1;
}

static void set_timer(long microseconds) {
    struct itimerval timer = {{0, microseconds}, {0, microseconds}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

static long wait_in_a_call(long how, int *ends, sigset_t *mask) {
    struct pollfd asked = {ends[0], POLLIN, 0};
    struct timespec long_time = {3, 0}, left;
    struct epoll_event event = {.events = EPOLLIN}, found;
    fd_set readable;
    char byte;
    int word = 5, queue;
    long result = 0;
    switch (how) {
    case 0: result = poll(&asked, 1, 3000); break;
    case 1: result = ppoll(&asked, 1, &long_time, mask); break;
    case 2: result = read(ends[0], &byte, 1); break;
    case 3: result = nanosleep(&long_time, &left); break;
    case 4: result = syscall(SYS_futex, &word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 5, NULL, NULL, 0); break;
    case 5: result = syscall(SYS_rt_sigsuspend, mask, 8); break;
    case 6:
        queue = epoll_create1(0);
        epoll_ctl(queue, EPOLL_CTL_ADD, ends[0], &event);
        result = outcome(epoll_pwait(queue, &found, 1, 3000, mask));
        close(queue);
        return result;
    case 7:
        FD_ZERO(&readable);
        FD_SET(ends[0], &readable);
        result = pselect(ends[0] + 1, &readable, NULL, NULL, &long_time, mask);
        break;
    default: result = clock_nanosleep(CLOCK_MONOTONIC, 0, &long_time, &left) ? (errno = EINTR, -1) : 0; break;
    }
    return outcome(result);
}

static void op_wait(const long *a) {
    struct sigaction action = {.sa_handler = ring}, old;
    sigset_t alarm, before, open_mask;
    int ends[2];
    if (pipe(ends)) return;
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    if (a[1] % 3 == 0) action.sa_flags = SA_ONSTACK;
    sigaction(SIGALRM, &action, &old);
    sigprocmask(SIG_UNBLOCK, &alarm, &before);
    open_mask = before;
    sigdelset(&open_mask, SIGALRM);
    rang = 0;
    set_timer(EVERY);
    long result = wait_in_a_call(a[0] % 9, ends, &open_mask);
    note(" %ld %ld rang %d", a[0] % 9, result, rang);
    set_timer(0);
    sigaction(SIGALRM, &old, NULL);
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(ends[0]);
    close(ends[1]);
}

/* Calls of memory under a timer: each must do its work once, whatever the interruption finds it at. */
static void op_under_fire(const long *a) {
    struct sigaction action = {.sa_handler = ring, .sa_flags = SA_RESTART | (a[1] % 2 ? SA_ONSTACK : 0)}, old;
    sigset_t alarm, before;
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    sigaction(SIGALRM, &action, &old);
    sigprocmask(SIG_UNBLOCK, &alarm, &before);
    set_timer(400 + a[2] % 300);
    long sum = 0;
    for (int i = 0; i < 40; i++) {
        unsigned first = (unsigned)((a[0] + i * 5) % (PAGES - 4));
        void *got = a[3] % 2 ? mmap(at(first), 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)
                             : (void *)syscall(SYS_mmap, at(first), 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        sum += got == at(first);
        if (got == at(first)) memset(at(first), i, 3 * PAGE);
        sum += a[3] % 2 ? munmap(at(first + 1), PAGE) : syscall(SYS_munmap, at(first + 1), PAGE);
        here->origins += 2;
        here->page[first] = here->page[first + 2] = (struct page){.origin = here->origins - 1, .kind = PRIVATE, .was_writable = 1};
        here->page[first + 2].origin = here->origins;
        here->page[first + 1] = (struct page){0};
    }
    set_timer(0);
    note(" %ld", sum);
    sigaction(SIGALRM, &old, NULL);
    sigprocmask(SIG_SETMASK, &before, NULL);
    look(0, PAGES);
}

const struct operation wait_operations[] = {{"wait", op_wait, 0}, {"under_fire", op_under_fire, 0}, {NULL, NULL, 0}};
