/* What a memory call costs that the runtime answers: mprotect(2) of one page that is as it is to be.
 *
 * prints "patched N" (ns per call through libc's mprotect(3), whose instruction the runtime replaces when it loads libc)
 * and "trapped N" (the same call through syscall(2), whose number is not known then: a signal for each).
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"

enum { PAGE = 4096, PATCHED = 50000, TRAPPED = 3000 };

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static double patched(void *page)
{
    double begin = now();

    for (int i = 0; i < PATCHED; i++)
        if (mprotect(page, PAGE, PROT_READ | PROT_WRITE) != 0)
            fail("trapped: mprotect");
    return (now() - begin) / PATCHED * 1e9;
}

static double trapped(void *page)
{
    double begin = now();

    for (int i = 0; i < TRAPPED; i++)
        if (syscall(SYS_mprotect, page, PAGE, PROT_READ | PROT_WRITE) != 0)
            fail("trapped: syscall");
    return (now() - begin) / TRAPPED * 1e9;
}

int main(void)
{
    void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        fail("trapped: mmap");
    *(volatile char *)page = 1;
    printf("patched %.2f\ntrapped %.2f\n", patched(page), trapped(page));
    return 0;
}
