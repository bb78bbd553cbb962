/* Futexes in every kind of memory, and threads that do lines of their own. */
#define _GNU_SOURCE
#include "calls.h"

#include <pthread.h>
#include <time.h>

enum { THREADS = 4, SHORT = 300 * 1000 /* ns */ };

void run_lines_of_thread(unsigned first, unsigned count);

static long futex(void *word, int operation, unsigned value, const void *timeout, void *other, unsigned value3) {
    return outcome(syscall(SYS_futex, word, operation, value, timeout, other, value3));
}

/* Priority inheritance and waiting for one of several: not on memory that processes share (ENOSYS in an enclave). */
static void op_futex(const long *a) {
    unsigned page = first_of(a), other = (unsigned)(a[3] % PAGES);
    char *word = (char *)at(page) + a[1] % (PAGE / 4) * 4 + (a[5] % 9 == 8);
    void *second = (char *)at(other) + 128;
    int private = a[4] % 2 ? FUTEX_PRIVATE_FLAG : 0;
    unsigned value = 1;
    if (a[5] % 4 && can_read(word) && can_read(word + 3)) memcpy(&value, word, 4);
    struct timespec moment = {0, SHORT}, past = {0, 1};
    const void *time = a[5] % 8 == 7 ? (char *)at(other) + PAGE - 12 : (void *)&moment; /* whatever stands there */
    long result = 0;
    int moves = a[2] % 9 == 4 || a[2] % 9 == 5;
    if (moves && (here->page[page].kind != here->page[other].kind || here->page[page].was_code != here->page[other].was_code)) {
        note(" skipped"); /* from memory of one kind to another's: EFAULT in an enclave */
        return;
    }
    switch (a[2] % 9) {
    case 0: result = futex(word, FUTEX_WAIT | private, value, time, NULL, 0); break;
    case 1: result = futex(word, FUTEX_WAKE | private, 1 + (unsigned)(a[5] % 3), NULL, NULL, 0); break;
    case 2: result = futex(word, FUTEX_WAIT_BITSET | private, value, &past, NULL, ~0U); break;
    case 3: result = futex(word, FUTEX_WAIT_BITSET | private | FUTEX_CLOCK_REALTIME, value, &past, NULL, (unsigned)(a[5] % 3)); break;
    case 4: result = futex(word, FUTEX_REQUEUE | private, 1, (void *)1, second, 0); break;
    case 5: result = futex(word, FUTEX_CMP_REQUEUE | private, 1, (void *)1, second, value); break;
    case 6: result = futex(word, FUTEX_WAKE_BITSET | private, 1, NULL, NULL, (unsigned)(a[5] % 3)); break;
    case 7: result = futex(word, 77 | private, 1, NULL, NULL, 0); break;
    default: moment.tv_nsec = 1L << 40; result = futex(word, FUTEX_WAIT | private, value, &moment, NULL, 0); break;
    }
    note(" %ld private %d kind %d value %u %ld", a[2] % 9, private, here->page[page].kind, value, result);
}

struct worker {
    struct world world;
    pthread_t thread;
    unsigned first, lines;
    char log[LOG_SIZE];
};
static struct worker workers[THREADS];

static void *work(void *given) {
    struct worker *worker = given;
    here = &worker->world;
    run_lines_of_thread(worker->first, worker->lines);
    look(0, PAGES);
    if (worker->first % 2) pthread_exit(NULL);
    return NULL;
}

/* Each thread does the next lines of its own; what they say comes after all of them, in order. */
static void op_threads(const long *a) {
    unsigned count = 1 + (unsigned)(a[0] % THREADS), lines = 1 + (unsigned)(a[1] % 8), first = next_line, begun = 0;
    next_line += count * lines;
    for (; begun < count; begun++) {
        struct worker *worker = &workers[begun];
        worker->world = (struct world){.is_thread = 1, .log = worker->log};
        worker->first = first + begun * lines;
        worker->lines = lines;
        make_arena(&worker->world, 0);
    }
    for (begun = 0; begun < count; begun++)
        if (pthread_create(&workers[begun].thread, NULL, work, &workers[begun])) break;
    note(" %u of %u\n", begun, count);
    for (unsigned i = 0; i < begun; i++) {
        pthread_join(workers[i].thread, NULL);
        workers[i].log[workers[i].world.used] = 0;
        for (char *rest = workers[i].log, *line; (line = strsep(&rest, "\n"));) note("  %u| %s\n", i, line);
    }
    for (unsigned i = 0; i < count; i++) munmap(workers[i].world.arena - PAGE, (size_t)(PAGES + 2) * PAGE);
}

const struct operation futex_operations[] = {{"futex", op_futex, 0}, {"threads", op_threads, 0}, {NULL, NULL, 0}};
