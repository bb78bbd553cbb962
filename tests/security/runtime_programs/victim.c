/* A program with a secret in every kind of memory, that obeys commands from standard input, one line each.
 *
 * The first line is the secret. Then it prints "PLACE ADDRESS" for each copy, "child PID", and "ready". Answers end in "done". */
#define _GNU_SOURCE
#include <pthread.h>
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

enum { LONGEST = 128, THREADS = 3, CHUNK = 64 << 20 };

static char in_data[LONGEST] = "initialised", in_bss[LONGEST];
static __thread char in_tls[LONGEST];
static char *in_heap, *in_map, *in_large_map;
static const char in_rodata[] = "read-only, not secret";
static size_t length;
static volatile int parked;

static void copy(char *to, const char *secret) { memcpy(to, secret, length + 1); }

static void *park(void *secret) {
    char on_stack[LONGEST];
    copy(on_stack, secret);
    copy(in_tls, secret);
    printf("thread-stack %p\nthread-tls %p\n", on_stack, in_tls);
    fflush(stdout);
    __atomic_add_fetch(&parked, 1, __ATOMIC_SEQ_CST);
    for (;;) pause();
    return on_stack;
}

static int whole(const char *on_stack) {
    return !strcmp(in_data, on_stack) && !strcmp(in_bss, on_stack) && !strcmp(in_heap, on_stack) && !strcmp(in_map, on_stack) &&
           !strcmp(in_large_map + CHUNK - LONGEST, on_stack) && !strcmp(in_rodata, "read-only, not secret");
}

static char *map(size_t size) {
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static size_t foreign_bytes(const char *at, size_t size) {
    size_t found = 0;
    for (size_t i = 0; i < size; i++) found += at[i] != 0;
    return found;
}

/* Fresh memory, as much as `count` chunks: bytes in it that are not zero. */
static size_t fresh_memory(int count) {
    size_t found = 0;
    char *chunks[16];
    for (int i = 0; i < count; i++) found += foreign_bytes(chunks[i] = map(CHUNK), CHUNK);
    for (int i = 0; i < count; i++) munmap(chunks[i], CHUNK);
    return found;
}

static void recycle(void) {
    size_t found = 0;
    for (size_t size = 4096; size <= (24 << 20); size *= 3) {
        char *p = map(size);
        memset(p, 'S', size);
        munmap(p, size);
        p = map(size);
        found += foreign_bytes(p, size);
        munmap(p, size);
    }
    printf("foreign %zu\n", found);
}

static void child_leaves(void) {
    if (fork() == 0) {
        for (int i = 0; i < 8; i++) memset(map(4 << 20), 'C', 4 << 20);
        _exit(0);
    }
    wait(NULL);
    char *p = map(48 << 20);
    printf("foreign %zu\n", foreign_bytes(p, 48 << 20));
    munmap(p, 48 << 20);
}

static void open_up(void) {
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    prctl(PR_SET_PTRACER, -1L, 0, 0, 0);
    syscall(SYS_prctl, PR_SET_DUMPABLE | 1UL << 32, 1);
    printf("dumpable %d\n", prctl(PR_GET_DUMPABLE));
}

static int sleeper(void *unused) {
    for (;;) pause();
    return unused != NULL;
}

static void untraced(void) {
    static char stack[1 << 16] __attribute__((aligned(16)));
    long by_fork = syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, NULL, NULL, NULL, NULL);
    if (by_fork == 0) sleeper(NULL);
    printf("pid %ld\n", by_fork);
    printf("pid %d\n", clone(sleeper, stack + sizeof stack, CLONE_UNTRACED | CLONE_VM | SIGCHLD, NULL));
}

/* Private memory is kept for the next who asks; what is shared with children is made anew each time. */
static void churn(void) {
    for (int i = 0; i < 4000; i++) munmap(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), 4096);
    for (int i = 0; i < 40; i++) {
        char *p[6];
        for (int k = 0; k < 6; k++) *(p[k] = map(CHUNK)) = 1;
        for (int k = 0; k < 6; k++) munmap(p[k], CHUNK);
    }
}

static void obey(const char *command, const char *secret) {
    if (!strcmp(command, "check")) printf("whole %d\n", whole(secret));
    else if (!strcmp(command, "fresh")) printf("foreign %zu\n", fresh_memory(6));
    else if (!strcmp(command, "recycle")) recycle();
    else if (!strcmp(command, "child")) child_leaves();
    else if (!strcmp(command, "open")) open_up();
    else if (!strcmp(command, "untraced")) untraced();
    else if (!strcmp(command, "churn")) churn();
    puts("done");
    fflush(stdout);
}

int main(void) {
    char on_stack[LONGEST], command[LONGEST];
    if (!fgets(on_stack, sizeof on_stack, stdin)) return 2;
    on_stack[length = strcspn(on_stack, "\n")] = 0;
    in_heap = malloc(LONGEST), in_map = map(4096), in_large_map = map(CHUNK);
    copy(in_data, on_stack), copy(in_bss, on_stack), copy(in_heap, on_stack), copy(in_map, on_stack), copy(in_tls, on_stack);
    copy(in_large_map + CHUNK - LONGEST, on_stack);
    printf("data %p\nbss %p\nheap %p\nmap %p\nlarge-map %p\nstack %p\ntls %p\n", in_data, in_bss, in_heap, in_map,
           in_large_map + CHUNK - LONGEST, on_stack, in_tls);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        sleeper(NULL);
    }
    pthread_t thread;
    for (int i = 0; i < THREADS; i++) pthread_create(&thread, NULL, park, on_stack);
    while (parked < THREADS) usleep(1000);
    printf("child %d\nready\n", child);
    fflush(stdout);
    while (fgets(command, sizeof command, stdin)) {
        command[strcspn(command, "\n")] = 0;
        obey(command, on_stack);
    }
    kill(child, SIGKILL);
    return 0;
}
