/* Forks often, and says what it saw.
 *   word:   a child writes its process id to memory that it shares with its parent, who then reads it.
 *   thread: a thread of the parent counts; a child must not see that. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 40, BUSY = 1500000 };

static struct {
    volatile unsigned long count;
    char rest[8184];
} page[3] __attribute__((aligned(4096)));

static void *count(void *nothing) {
    for (;;) page[1].count++;
    return nothing;
}

static void be_busy(void) {
    for (volatile int i = 0; i < BUSY; i++) continue;
}

static int is_disturbed(volatile int *word) {
    unsigned long before = page[1].count;
    *word = getpid();
    be_busy();
    return before != page[1].count;
}

int main(int words, char **word) {
    volatile int *shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_t thread;
    int changed = 0, disturbed = 0, status;
    char byte;
    if (words > 1 && !strcmp(word[1], "thread") && pthread_create(&thread, 0, count, 0)) return 1;
    printf("%lx\n", (unsigned long)shared);
    fflush(stdout);
    if (read(0, &byte, 1) < 0) return 1;
    for (int i = 0; i < ROUNDS; i++) {
        pid_t child = fork();
        if (child == 0) _exit(is_disturbed(shared));
        if (waitpid(child, &status, 0) != child) return 1;
        disturbed += WEXITSTATUS(status) != 0;
        changed += *shared != child;
    }
    printf("changed %d disturbed %d\n", changed, disturbed);
    fflush(stdout);
    _exit(0);
}
