/* A program of system calls, one a line: what its parts share. See main.c.
 *
 * Every operation takes whatever numbers it is given and brings them into its range, so that any text is a program: the
 * shrinker may take out any line and change any number. What is known to differ in an enclave (LIMITATIONS.md) an operation
 * leaves out itself, with the reason beside it, and says so in the log. */
#ifndef CALLS_H
#define CALLS_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* musl brings no Linux headers along. */
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 3
#endif
enum {
    FUTEX_WAIT = 0, FUTEX_WAKE = 1, FUTEX_REQUEUE = 3, FUTEX_CMP_REQUEUE = 4, FUTEX_WAIT_BITSET = 9, FUTEX_WAKE_BITSET = 10,
    FUTEX_PRIVATE_FLAG = 128, FUTEX_CLOCK_REALTIME = 256,
};

enum { PAGE = 4096, PAGES = 64, LONGEST = 12, ARGUMENTS = 6, LOG_SIZE = 1 << 17, SLOT = 16 << 20 };
/* Descriptors of the program's own, out of the way of those that its operations make. */
enum { LOOK_READ = 1000, LOOK_WRITE, CONSTANT_FILE, SHARED_FILE, WRITE_ONLY_FILE, DIRECTORY, PROGRAM };
enum { CONSTANT_PAGES = 11, CONSTANT_SIZE = 10 * PAGE + 100, SHARED_PAGES = 9, SHARED_SIZE = 8 * PAGE + 50 };

enum kind { NOTHING, PRIVATE, SHARED, COPY, OF_FILE };

/* What is known of a page of the arena; pages of equal origin are surely in one mapping of the kernel's. */
struct page {
    unsigned origin;
    unsigned char kind, was_code, was_writable;
};

/* Each thread has an arena of its own, so that what the others do cannot change its results. */
struct world {
    char *arena;
    struct page page[PAGES];
    unsigned origins;
    int is_thread;
    char *log; /* NULL: straight to descriptor 1 */
    size_t used;
    sigjmp_buf out;
    volatile int jumps;
};
extern __thread struct world *here;
extern int verbose, depth;
/* What is known to differ for shielded files is left out. */
extern int shielded;
extern const char *own_path, *text_path;
extern unsigned next_line;

struct operation {
    const char *name;
    void (*run)(const long *a);
    int in_threads;
};
extern const struct operation memory_operations[], region_operations[], file_operations[], signal_operations[],
    process_operations[], futex_operations[], wait_operations[];

void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void run_lines(unsigned first, unsigned count);
void make_arena(struct world *world, int where);
void report_state(void); /* what execve(2) keeps: descriptors, masks, dispositions */

/* A call's outcome: 0 and up as it is, an error as its negative number. */
static inline long outcome(long result) { return result == -1 ? -errno : result; }
static inline void *at(unsigned page) { return here->arena + (size_t)page * PAGE; }
static inline unsigned first_of(const long *a) { return (unsigned)(a[0] % PAGES); }
static inline unsigned count_of(const long *a) {
    unsigned room = PAGES - first_of(a);
    return 1 + (unsigned)(a[1] % (room < LONGEST ? room : LONGEST));
}
#define PICK(choices, a) ((choices)[(unsigned long)(a) % (sizeof(choices) / sizeof((choices)[0]))])

int can_read(const void *address);
int can_write(void *address);
uint64_t hash_page(const void *page);
void look(unsigned first, unsigned count);
int any_kind(unsigned first, unsigned count, enum kind kind);
int is_mapped(unsigned first, unsigned count);
int all_writable(void *address, size_t length);

#endif
