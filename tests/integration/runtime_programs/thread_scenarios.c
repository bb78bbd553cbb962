/* pthreads(7), futex(2): threads start, share, wait, are cancelled and end; locks work inside a process and across processes. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "scenarios.h"

enum { MANY = 16, ROUNDS = 30 };

static __thread long local = 7;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static volatile long counter;

static int ended(pid_t child) {
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    return status;
}

static void *allocate_and_count(void *arg) {
    long number = (long)arg;
    local += number;
    for (int i = 0; i < 20; i++) {
        size_t size = 1000 + (size_t)(number * 7919 + i * 104729) % 300000;
        char *p = calloc(1, size);
        for (size_t at = 0; at < size; at += 512)
            if (p[at]) return (void *)-1;
        memset(p, (int)number, size);
        free(p);
        pthread_mutex_lock(&mutex);
        counter++;
        pthread_mutex_unlock(&mutex);
    }
    return (void *)local;
}

static void storm(void) {
    pthread_t threads[MANY];
    long wrong = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (long i = 0; i < MANY; i++)
            if (pthread_create(&threads[i], NULL, allocate_and_count, (void *)i)) puts("create failed");
        for (long i = 0; i < MANY; i++) {
            void *result;
            pthread_join(threads[i], &result);
            wrong += (long)result != 7 + i;
        }
    }
    printf("wrong %ld counted %ld own %ld\n", wrong, counter, local);
}

static volatile int detached_done;
static void *detached(void *arg) {
    (void)arg;
    __atomic_add_fetch(&detached_done, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void detached_threads(void) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (int i = 0; i < 200; i++) {
        pthread_t thread;
        while (pthread_create(&thread, &attributes, detached, NULL)) usleep(1000);
    }
    while (detached_done < 200) usleep(1000);
    puts("all ran");
}

static int turn;
static void *play(void *arg) {
    int me = (int)(long)arg;
    for (int i = 0; i < 500; i++) {
        pthread_mutex_lock(&mutex);
        while (turn != me) pthread_cond_wait(&condition, &mutex);
        turn = !me;
        pthread_cond_broadcast(&condition);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void ping_pong(void) {
    pthread_t a, b;
    pthread_create(&a, NULL, play, (void *)0L);
    pthread_create(&b, NULL, play, (void *)1L);
    pthread_join(a, NULL), pthread_join(b, NULL);
    struct timespec past = {1, 0};
    pthread_mutex_lock(&mutex);
    printf("turn %d timed wait %d\n", turn, pthread_cond_timedwait(&condition, &mutex, &past));
}

static void cleanup(void *arg) { printf("cleanup %s\n", (const char *)arg); }

static int closed_pipe[2];
static void *wait_in(void *arg) {
    int how = (int)(long)arg;
    static const char *const names[] = {"read", "nanosleep", "ppoll", "pause", "cond", "join", "sem", "sigsuspend"};
    pthread_cleanup_push(cleanup, (void *)names[how]);
    sigset_t none;
    sigemptyset(&none);
    struct timespec long_time = {100, 0};
    static sem_t never;
    char byte;
    pthread_t self = pthread_self(), other;
    (void)self;
    switch (how) {
    case 0: (void)!read(closed_pipe[0], &byte, 1); break;
    case 1: nanosleep(&long_time, NULL); break;
    case 2: syscall(SYS_gettid), (void)!pselect(0, NULL, NULL, NULL, &long_time, &none); break;
    case 3: pause(); break;
    case 4:
        pthread_mutex_lock(&mutex);
        pthread_cleanup_push((void (*)(void *))pthread_mutex_unlock, &mutex);
        for (;;) pthread_cond_wait(&condition, &mutex);
        pthread_cleanup_pop(0);
        break;
    case 5:
        pthread_create(&other, NULL, wait_in, (void *)1L);
        pthread_join(other, NULL);
        break;
    case 6:
        sem_init(&never, 0, 0);
        sem_wait(&never);
        break;
    case 7: sigsuspend(&none); break;
    }
    pthread_cleanup_pop(0);
    return NULL;
}

static void cancel(void) {
    if (pipe(closed_pipe)) return;
    for (long how = 0; how < 8; how++) {
        pthread_t thread;
        void *result;
        pthread_create(&thread, NULL, wait_in, (void *)how);
        usleep(20000);
        pthread_cancel(thread);
        pthread_join(thread, &result);
        printf("%ld: cancelled %d\n", how, result == PTHREAD_CANCELED);
    }
}

static void *exit_later(void *arg) {
    usleep(50000);
    printf("the last thread ends the process, %s\n", (const char *)arg);
    exit(5);
}

static void main_thread_first(void) {
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, exit_later, "after main");
        pthread_exit(NULL);
    }
    printf("exit %d\n", WEXITSTATUS(ended(child)));
    child = fork();
    if (child == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, exit_later, "main waiting");
        for (;;) pause();
    }
    printf("exit %d\n", WEXITSTATUS(ended(child)));
}

static void *fork_and_wait(void *arg) {
    long wrong = 0;
    char *mine = malloc(20000);
    for (int i = 0; i < 8; i++) {
        memset(mine, i + (int)(long)arg, 20000);
        pid_t child = fork();
        if (child == 0) {
            for (int at = 0; at < 20000; at++) wrong += mine[at] != (char)(i + (int)(long)arg);
            void *p = malloc(100000);
            memset(p, 1, 100000);
            _exit(wrong ? 1 : 0);
        }
        wrong += ended(child) != 0;
    }
    free(mine);
    return (void *)wrong;
}

static void fork_in_threads(void) {
    pthread_t threads[4];
    long wrong = 0;
    for (long i = 0; i < 4; i++) pthread_create(&threads[i], NULL, fork_and_wait, (void *)(i * 10));
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(threads[i], &result);
        wrong += (long)result;
    }
    printf("wrong %ld\n", wrong);
}

static void *execute(void *arg) {
    (void)arg;
    execl("/bin/echo", "echo", "executed by a thread", NULL);
    return NULL;
}

static void exec_in_thread(void) {
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        for (int i = 0; i < 4; i++) pthread_create(&thread, NULL, wait_in, (void *)1L);
        pthread_create(&thread, NULL, execute, NULL);
        for (;;) pause();
    }
    printf("exit %d\n", WEXITSTATUS(ended(child)));
}

static volatile int handled_by;
static void handler(int number) {
    (void)number;
    handled_by = (int)syscall(SYS_gettid);
}

static volatile pid_t target_tid;
static void *target(void *arg) {
    sigset_t none;
    sigemptyset(&none);
    target_tid = (int)syscall(SYS_gettid);
    while (!*(volatile int *)arg) usleep(1000);
    return NULL;
}

static void signals_to_threads(void) {
    static int stop;
    pthread_t thread;
    signal(SIGUSR1, handler);
    pthread_create(&thread, NULL, target, &stop);
    while (!target_tid) usleep(1000);
    pthread_kill(thread, SIGUSR1);
    while (!handled_by) usleep(1000);
    printf("the right thread %d\n", handled_by == target_tid);
    stop = 1;
    pthread_join(thread, NULL);
}

struct shared {
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    pthread_barrier_t barrier;
    sem_t semaphore, done;
    pthread_rwlock_t lock;
    long count, ready;
};

static struct shared *share(void) {
    struct shared *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t mutexes;
    pthread_condattr_t conditions;
    pthread_barrierattr_t barriers;
    pthread_rwlockattr_t locks;
    pthread_mutexattr_init(&mutexes), pthread_mutexattr_setpshared(&mutexes, PTHREAD_PROCESS_SHARED);
    pthread_condattr_init(&conditions), pthread_condattr_setpshared(&conditions, PTHREAD_PROCESS_SHARED);
    pthread_barrierattr_init(&barriers), pthread_barrierattr_setpshared(&barriers, PTHREAD_PROCESS_SHARED);
    pthread_rwlockattr_init(&locks), pthread_rwlockattr_setpshared(&locks, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&s->mutex, &mutexes);
    pthread_cond_init(&s->condition, &conditions);
    pthread_barrier_init(&s->barrier, &barriers, 4);
    pthread_rwlock_init(&s->lock, &locks);
    sem_init(&s->semaphore, 1, 0), sem_init(&s->done, 1, 0);
    return s;
}

static void shared_worker(struct shared *s) {
    for (int i = 0; i < 300; i++) {
        pthread_mutex_lock(&s->mutex);
        s->count++;
        pthread_mutex_unlock(&s->mutex);
        if (i % 50 == 0) pthread_barrier_wait(&s->barrier);
        pthread_rwlock_rdlock(&s->lock), pthread_rwlock_unlock(&s->lock);
    }
    pthread_mutex_lock(&s->mutex);
    s->ready++;
    pthread_cond_broadcast(&s->condition);
    while (s->ready < 4) pthread_cond_wait(&s->condition, &s->mutex);
    pthread_mutex_unlock(&s->mutex);
    sem_wait(&s->semaphore);
    sem_post(&s->done);
}

static void locks_across_processes(void) {
    struct shared *s = share();
    pid_t children[4];
    int wrong = 0;
    for (int i = 0; i < 4; i++)
        if ((children[i] = fork()) == 0) {
            shared_worker(s);
            _exit(0);
        }
    for (int i = 0; i < 4; i++) sem_post(&s->semaphore);
    for (int i = 0; i < 4; i++) sem_wait(&s->done);
    for (int i = 0; i < 4; i++) wrong += ended(children[i]) != 0;
    struct timespec past = {1, 0};
    int timed = sem_timedwait(&s->semaphore, &past);
    printf("count %ld ready %ld wrong %d timed %d errno %d\n", s->count, s->ready, wrong, timed, errno);
}

static long call_futex(void *word, int operation, unsigned value, const struct timespec *limit) {
    return result_of(syscall(SYS_futex, word, operation, value, limit, NULL, 0));
}

/* The calls themselves, on private memory, on shared memory, and on memory mapped from a file. */
static void futexes(void) {
    char name[] = "/tmp/cloister-futex-XXXXXX";
    int file = mkstemp(name);
    unlink(name);
    if (ftruncate(file, 4096)) return;
    struct timespec soon = {0, 5000000};
    unsigned *words[3] = {calloc(1, 4096), mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0),
                          mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)};
    for (int i = 0; i < 3; i++)
        for (int private = 0; private <= FUTEX_PRIVATE_FLAG; private += FUTEX_PRIVATE_FLAG) {
            printf("%d %d:", i, private != 0);
            printf(" other value %ld", call_futex(words[i], FUTEX_WAIT | private, 1, &soon));
            printf(" timeout %ld", call_futex(words[i], FUTEX_WAIT | private, 0, &soon));
            printf(" wake %ld", call_futex(words[i], FUTEX_WAKE | private, 1, NULL));
            printf(" bitset %ld", result_of(syscall(SYS_futex, words[i], FUTEX_WAIT_BITSET | private, 1, NULL, NULL, FUTEX_BITSET_MATCH_ANY)));
            printf(" odd %ld\n", call_futex((char *)words[i] + 1, FUTEX_WAKE | private, 1, NULL));
        }
}

static void wakes_across_processes(void) {
    unsigned *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t children[3];
    for (int i = 0; i < 3; i++)
        if ((children[i] = fork()) == 0) {
            while (__atomic_load_n(&word[i], __ATOMIC_SEQ_CST) == 0) call_futex(&word[i], FUTEX_WAIT, 0, NULL);
            _exit((int)word[i]);
        }
    usleep(30000);
    for (int i = 2; i >= 0; i--) {
        __atomic_store_n(&word[i], (unsigned)(10 + i), __ATOMIC_SEQ_CST);
        call_futex(&word[i], FUTEX_WAKE, INT_MAX, NULL);
        printf("%d: exit %d\n", i, WEXITSTATUS(ended(children[i])));
    }
}

static int has_lock;

static void *die_with_lock(void *arg) {
    pthread_mutex_lock(arg);
    __atomic_store_n(&has_lock, 1, __ATOMIC_SEQ_CST);
    usleep(50000);
    return NULL;
}

/* The kernel marks a robust lock whose owner has died, and wakes who waits for it (set_robust_list(2)). */
static void robust(void) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    static pthread_mutex_t lock;
    pthread_mutex_init(&lock, &attributes);
    pthread_t thread;
    pthread_create(&thread, NULL, die_with_lock, &lock);
    while (!__atomic_load_n(&has_lock, __ATOMIC_SEQ_CST)) usleep(1000);
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 3;
    printf("waiting for a dead thread's lock: %d\n", pthread_mutex_timedlock(&lock, &limit));
    pthread_join(thread, NULL);
}

static void robust_across_processes(void) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_t *lock = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutex_init(lock, &attributes);
    pid_t child = fork();
    if (child == 0) {
        pthread_mutex_lock(lock);
        usleep(50000);
        raise(SIGKILL);
    }
    usleep(20000);
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 3;
    printf("waiting for a dead process's lock: %d\n", pthread_mutex_timedlock(lock, &limit));
    ended(child);
}

static void priority_inheritance(void) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    static pthread_mutex_t lock;
    pthread_mutex_init(&lock, &attributes);
    pthread_t thread;
    pthread_mutex_lock(&lock);
    pthread_create(&thread, NULL, die_with_lock, &lock);
    usleep(20000);
    printf("unlock %d", pthread_mutex_unlock(&lock));
    pthread_join(thread, NULL);
    printf(" joined\n");
}

static void *small_stack(void *arg) {
    void *p = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    sigset_t none;
    sigemptyset(&none);
    struct timespec soon = {0, 1000000};
    pselect(0, NULL, NULL, NULL, &soon, &none);
    pid_t child = fork();
    if (child == 0) _exit(3);
    *(int *)arg = WEXITSTATUS(ended(child));
    munmap(p, 65536);
    return NULL;
}

static void smallest_stack(void) {
    pthread_attr_t attributes;
    pthread_t thread;
    int result = 0;
    size_t size = (size_t)sysconf(_SC_THREAD_STACK_MIN);
    char *memory = mmap(NULL, size + 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(memory, 0x5a, 65536);
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, memory + 65536, size);
    pthread_create(&thread, &attributes, small_stack, &result);
    pthread_join(thread, NULL);
    int damaged = 0;
    for (int i = 0; i < 65536; i++) damaged += memory[i] != 0x5a;
    printf("result %d damaged below %d\n", result, damaged);
}

/* The guard page of a thread's stack stops endless recursion. */
static volatile int deep;
static int endless(int depth) {
    volatile char room[512];
    room[0] = (char)depth;
    deep = depth;
    return depth < 0 ? 0 : endless(depth + 1) + room[0];
}
static void *overflow(void *arg) { return (void *)(long)endless(1 + (int)(long)arg); }

static void stack_guard(void) {
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, overflow, NULL);
        pthread_join(thread, NULL);
        _exit(0);
    }
    printf("signal %d\n", WTERMSIG(ended(child)));
}

static const struct scenario all[] = {
    SCENARIO(storm), SCENARIO(detached_threads), SCENARIO(ping_pong), SCENARIO(cancel), SCENARIO(main_thread_first),
    SCENARIO(fork_in_threads), SCENARIO(exec_in_thread), SCENARIO(signals_to_threads), SCENARIO(locks_across_processes),
    SCENARIO(futexes), SCENARIO(wakes_across_processes), SCENARIO(robust), SCENARIO(robust_across_processes),
    SCENARIO(priority_inheritance), SCENARIO(smallest_stack), SCENARIO(stack_guard),
};

RUN_SCENARIOS(all)
