/* The cost of a system call that nothing intercepts (getppid(2)), of dup2(2), and of a thread's life.
 *
 * prints "getppid N" and "dup2 N" (ns per call) and "thread N" (us per pthread_create and pthread_join).
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"

enum { CALLS = 500000, DUPLICATES = 20000, THREADS = 2000 };

static double system_call(void)
{
    double begin = now();

    for (int i = 0; i < CALLS; i++)
        syscall(SYS_getppid);
    return (now() - begin) / CALLS * 1e9;
}

static double duplicate(void)
{
    int from = dup(0), to = from < 0 ? -1 : dup(from);
    double begin = now();

    for (int i = 0; i < DUPLICATES; i++)
        if (dup2(from, to) != to) {
            perror("calls: dup2");
            exit(1);
        }
    return (now() - begin) / DUPLICATES * 1e9;
}

static void *nothing(void *argument)
{
    return argument;
}

static double thread(void)
{
    double begin = now();

    for (int i = 0; i < THREADS; i++) {
        pthread_t new;

        if (pthread_create(&new, NULL, nothing, NULL) != 0 || pthread_join(new, NULL) != 0) {
            fprintf(stderr, "calls: a thread failed\n");
            exit(1);
        }
    }
    return (now() - begin) / THREADS * 1e6;
}

int main(void)
{
    printf("getppid %.4f\n", system_call());
    printf("dup2 %.4f\n", duplicate());
    printf("thread %.4f\n", thread());
    return 0;
}
