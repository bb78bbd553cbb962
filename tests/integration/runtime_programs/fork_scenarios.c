/* fork(2) at its edges: how much is copied, and what happens between fork and exec or exit. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "scenarios.h"

enum { MB = 1 << 20, PAGE_SIZE = 4096 };

static int ended(pid_t child) {
    int status = -1;
    while (waitpid(child, &status, __WALL) < 0 && errno == EINTR) continue;
    return status;
}

static char *memory(size_t size) { return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }

/* Pages that were never touched among others that were, and all of it more than one piece of work. */
static void much_is_copied(void) {
    enum { SIZE = 40 * MB };
    unsigned *map = (unsigned *)memory(SIZE);
    for (size_t page = 0; page < SIZE / PAGE_SIZE; page++)
        if (page % 7) map[page * PAGE_SIZE / sizeof *map] = (unsigned)page;
    pid_t child = fork();
    int right = 0;
    for (size_t page = 0; page < SIZE / PAGE_SIZE; page++) {
        right += map[page * PAGE_SIZE / sizeof *map] == (page % 7 ? page : 0);
        map[page * PAGE_SIZE / sizeof *map + 1] = child ? 1 : 2;
    }
    struct stat tasks;
    int alone = stat("/proc/self/task", &tasks) == 0 && tasks.st_nlink == 3 && unshare(CLONE_VM) == 0;
    if (!child) {
        printf("child: right %d alone %d\n", right, alone);
        _exit(0);
    }
    int status = ended(child);
    printf("parent: right %d alone %d status %d\n", right, alone, status);
}

static const struct scenario all[] = {
    SCENARIO(much_is_copied),
};

RUN_SCENARIOS(all)
