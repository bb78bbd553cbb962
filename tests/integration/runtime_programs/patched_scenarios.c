/* Calls at sites that the runtime patches when it loads a program (patch.c), in the forms that compilers write: futex(2) and what a
 * thread gives up of its memory. Natively the same calls go to the kernel. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "scenarios.h"

/* linux/futex.h, which musl does not have. */
enum { FUTEX_WAIT, FUTEX_WAKE, FUTEX_CMP_REQUEUE = 4, FUTEX_WAIT_BITSET = 9, FUTEX_WAKE_BITSET, FUTEX_PRIVATE_FLAG = 128, FUTEX_BITSET_MATCH_ANY = -1 };

/* `mov $202,%eax; syscall`, whatever else the compiler does. */
static long call_futex(const void *word, int operation, unsigned value, const struct timespec *limit, const void *other, unsigned last) {
    register const struct timespec *r10 __asm__("r10") = limit;
    register const void *r8 __asm__("r8") = other;
    register unsigned long r9 __asm__("r9") = last;
    long result;
    __asm__ volatile("mov $202, %%eax\n\tsyscall"
                     : "=a"(result)
                     : "D"(word), "S"(operation), "d"(value), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static unsigned *shared_page(void) { return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0); }

static void answers(void) {
    char name[] = "/tmp/cloister-futex-XXXXXX";
    int file = mkstemp(name);
    unlink(name);
    if (ftruncate(file, 4096)) return;
    const struct timespec soon = {0, 5000000};
    unsigned *words[3] = {calloc(1, 4096), shared_page(), mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)};
    for (int i = 0; i < 3; i++)
        for (int private = 0; private <= FUTEX_PRIVATE_FLAG; private += FUTEX_PRIVATE_FLAG) {
            printf("%d %d:", i, private != 0);
            printf(" other value %ld", call_futex(words[i], FUTEX_WAIT | private, 1, &soon, NULL, 0));
            printf(" timeout %ld", call_futex(words[i], FUTEX_WAIT | private, 0, &soon, NULL, 0));
            printf(" wake %ld", call_futex(words[i], FUTEX_WAKE | private, 1, NULL, NULL, 0));
            printf(" bitset %ld", call_futex(words[i], FUTEX_WAIT_BITSET | private, 1, NULL, NULL, FUTEX_BITSET_MATCH_ANY));
            printf(" odd %ld\n", call_futex((char *)words[i] + 1, FUTEX_WAKE | private, 1, NULL, NULL, 0));
        }
    printf("nowhere %ld\n", call_futex((void *)8, FUTEX_WAIT, 0, &soon, NULL, 0));
    printf("no limit there %ld\n", call_futex(words[0], FUTEX_WAIT, 0, (void *)8, NULL, 0));
}

/* Of memory that may not be written, or not be touched, of a time that is none, of two words, of no bits. */
static void refusals(void) {
    const struct timespec wrong = {0, 1000000000}, before = {-1, 0}, soon = {0, 1000000};
    for (int shared = 0; shared < 2; shared++) {
        unsigned *word = mmap(NULL, 8192, PROT_READ | PROT_WRITE, (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
        printf("%d: times %ld %ld", shared, call_futex(word, FUTEX_WAIT, 0, &wrong, NULL, 0), call_futex(word, FUTEX_WAIT, 0, &before, NULL, 0));
        printf(" no bits %ld %ld", call_futex(word, FUTEX_WAIT_BITSET, 0, NULL, NULL, 0), call_futex(word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0));
        printf(" requeue %ld", call_futex(word, FUTEX_CMP_REQUEUE, 1, (void *)1, word + 1, 0));
        printf(" %ld", call_futex(word, FUTEX_CMP_REQUEUE, 1, (void *)1, word + 1, 1));
        printf(" nowhere %ld\n", call_futex(word, FUTEX_CMP_REQUEUE, 1, (void *)1, (void *)8, 0));
        for (int protection = PROT_READ; protection >= PROT_NONE; protection--) {
            mprotect(word, 4096, protection);
            printf("%d: protection %d wake %ld", shared, protection, call_futex(word, FUTEX_WAKE, 1, NULL, NULL, 0));
            printf(" wait %ld\n", call_futex(word, FUTEX_WAIT, 0, &soon, NULL, 0));
        }
    }
}

static void *wake_later(void *arg) {
    usleep(250000); /* longer than the runtime lets anybody sleep (futex.c) */
    __atomic_store_n((unsigned *)arg, 1, __ATOMIC_SEQ_CST);
    call_futex(arg, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    return NULL;
}

static void wakes_threads(void) {
    unsigned *words[2] = {calloc(1, 4096), shared_page()};
    for (int i = 0; i < 2; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, wake_later, words[i]);
        while (!__atomic_load_n(words[i], __ATOMIC_SEQ_CST)) call_futex(words[i], FUTEX_WAIT, 0, NULL, NULL, 0);
        pthread_join(thread, NULL);
        printf("%d: woken\n", i);
    }
}

static void wakes_processes(void) {
    unsigned *word = shared_page();
    pid_t child = fork();
    if (child == 0) {
        while (!__atomic_load_n(word, __ATOMIC_SEQ_CST)) call_futex(word, FUTEX_WAIT, 0, NULL, NULL, 0);
        _exit(5);
    }
    usleep(30000);
    __atomic_store_n(word, 1, __ATOMIC_SEQ_CST);
    call_futex(word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    int status = 0;
    waitpid(child, &status, 0);
    printf("exit %d\n", WEXITSTATUS(status));
}

static volatile int caught;

static void count(int signal) { caught += signal == SIGALRM; }

/* A signal reaches a thread that waits, and its handler may use what it finds patched. */
static void interrupted(void) {
    struct sigaction action = {.sa_handler = count};
    sigaction(SIGALRM, &action, NULL);
    unsigned *words[2] = {calloc(1, 4096), shared_page()};
    for (int i = 0; i < 2; i++) {
        struct itimerval once = {.it_value = {0, 30000}};
        setitimer(ITIMER_REAL, &once, NULL);
        long result = call_futex(words[i], FUTEX_WAIT, 0, NULL, NULL, 0);
        printf("%d: %ld, caught %d\n", i, result, caught);
    }
}

enum { DATA = 1 << 20, STACK = 256 << 10 };

static void *give_up_data(void *data) {
    memset(data, 7, DATA);
    madvise(data, DATA, MADV_DONTNEED);
    long left = 0;
    for (int i = 0; i < DATA; i++) left += ((char *)data)[i];
    return (void *)left;
}

/* Right below a stack without a guard page, which makes one mapping of the two: it is zeros all the same. */
static void data_below_a_stack(void) {
    char *data = mmap(NULL, DATA + STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, data + DATA, STACK);
    pthread_t thread;
    void *left = NULL;
    pthread_create(&thread, &attributes, give_up_data, data);
    pthread_join(thread, &left);
    printf("left %ld\n", (long)left);
}

static void *fill_stack(void *arg) {
    volatile char room[512 << 10];
    for (size_t i = 0; i < sizeof room; i += 4096) room[i] = (char)(long)arg;
    return (void *)(long)room[4096];
}

/* glibc keeps stacks of threads that have ended for others. */
static void stacks_again(void) {
    long sum = 0;
    for (long i = 0; i < 50; i++) {
        pthread_t thread;
        void *result = NULL;
        pthread_create(&thread, NULL, fill_stack, (void *)(i % 100));
        pthread_join(thread, &result);
        sum += (long)result;
    }
    printf("sum %ld\n", sum);
}

static const struct scenario all[] = {
    SCENARIO(answers), SCENARIO(refusals), SCENARIO(wakes_threads), SCENARIO(wakes_processes), SCENARIO(interrupted),
    SCENARIO(data_below_a_stack), SCENARIO(stacks_again),
};

RUN_SCENARIOS(all)
