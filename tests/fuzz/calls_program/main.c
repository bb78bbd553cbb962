/* Runs a program of system calls and logs what came of each: results, errors, signals, and what can be seen in memory.
 *
 * usage: calls FILE LINE DEPTH [verbose]        FILE: lines of a name and up to six numbers
 * The log has no addresses and no process numbers in it, so it is the same wherever the calls mean the same. The first line
 * must be `arena WHERE`, or `arena WHERE 1`: its files may be those of a shielded directory. */
#define _GNU_SOURCE
#include "calls.h"

#include <stdarg.h>
#include <sys/resource.h>

enum { LINES_MAX = 4096, TEXT_MAX = 1 << 18 };

struct line {
    const struct operation *operation;
    long a[ARGUMENTS];
};

__thread struct world *here;
int verbose, depth, shielded;
const char *own_path, *text_path;
unsigned next_line;
static struct line lines[LINES_MAX];
static unsigned line_count;
static char text[TEXT_MAX];
static struct world first_world;

void note(const char *format, ...) {
    char words[512];
    va_list list;
    va_start(list, format);
    size_t length = (size_t)vsnprintf(words, sizeof words, format, list);
    va_end(list);
    if (length >= sizeof words) length = sizeof words - 1;
    if (!here->log) {
        if (write(1, words, length) != (ssize_t)length) _exit(99);
    } else if (here->used + length < LOG_SIZE) {
        memcpy(here->log + here->used, words, length);
        here->used += length;
    }
}

int can_read(const void *address) {
    char byte;
    if (write(LOOK_WRITE, address, 1) != 1) return 0;
    if (read(LOOK_READ, &byte, 1) != 1) _exit(98);
    return 1;
}

/* A byte goes through the pipe and back to where it was, so nothing changes. */
int can_write(void *address) {
    char lost, readable = (char)(write(LOOK_WRITE, address, 1) == 1);
    if (!readable && write(LOOK_WRITE, "", 1) != 1) _exit(98);
    if (read(LOOK_READ, address, 1) == 1) return 1;
    if (read(LOOK_READ, &lost, 1) != 1) _exit(98);
    return 0;
}

uint64_t hash_page(const void *page) {
    const uint64_t *word = page;
    uint64_t hash = 1469598103934665603ULL;
    for (unsigned i = 0; i < PAGE / 8; i++) hash = (hash ^ word[i]) * 1099511628211ULL;
    return hash ^ hash >> 32;
}

/* A thread has no pipe to itself: two that look at once would read each other's bytes. */
static void look_by_touch(unsigned first, unsigned end);

void look(unsigned first, unsigned count) {
    uint64_t hash = 0;
    unsigned start = first ? first - 1 : 0, end = first + count < PAGES ? first + count + 1 : PAGES;
    if (here->is_thread) {
        look_by_touch(start, end);
        return;
    }
    for (unsigned page = start; page < end; page++) {
        int readable = can_read(at(page)), writable = can_write(at(page));
        uint64_t one = (readable ? hash_page(at(page)) : 7) * 4 + (unsigned)(readable * 2 + writable);
        hash = (hash ^ one) * 1099511628211ULL;
        if (verbose) note(" %u:%s%s:%x", page, readable ? "r" : "-", writable ? "w" : "-", readable ? (unsigned)hash_page(at(page)) : 0);
    }
    note(" look %08x", (unsigned)(hash ^ hash >> 32));
}

static void look_by_touch(unsigned first, unsigned end) {
    volatile uint64_t hash = 0;
    for (volatile unsigned page = first; page < end; page++) {
        here->jumps = 1;
        volatile uint64_t one = 7;
        if (sigsetjmp(here->out, 1) == 0) one = hash_page(at(page));
        here->jumps = 0;
        hash = (hash ^ one) * 1099511628211ULL;
        if (verbose) note(" %u:%x", page, (unsigned)one);
    }
    note(" look %08x", (unsigned)(hash ^ hash >> 32));
}

static const struct operation *find(const char *name) {
    const struct operation *const tables[] = {memory_operations, region_operations, file_operations, signal_operations,
                                              process_operations, futex_operations, wait_operations};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        for (const struct operation *one = tables[i]; one->name; one++)
            if (strcmp(one->name, name) == 0) return one;
    return NULL;
}

void run_lines(unsigned first, unsigned count) {
    for (next_line = first; next_line < line_count && next_line < first + count;) {
        const struct line *line = &lines[next_line++];
        if (!line->operation) continue;
        note("%u %s:", next_line, line->operation->name);
        if (here->is_thread && !line->operation->in_threads) note(" not in a thread");
        else line->operation->run(line->a);
        note("\n");
    }
}

/* Thread-safe form of run_lines: the position is the thread's own. */
void run_lines_of_thread(unsigned first, unsigned count);
void run_lines_of_thread(unsigned first, unsigned count) {
    for (unsigned i = first; i < line_count && i < first + count; i++) {
        if (!lines[i].operation) continue;
        note("%u %s:", i + 1, lines[i].operation->name);
        if (lines[i].operation->in_threads) lines[i].operation->run(lines[i].a);
        else note(" not in a thread");
        note("\n");
    }
}

/* Between two pages that stay as they are, so that nothing grows out of it; across a boundary of the enclave's slots. */
void make_arena(struct world *world, int where) {
    size_t size = (size_t)(PAGES + 2) * PAGE, half = (size_t)(PAGES / 2 + 1) * PAGE;
    char *start = (char *)0x200000000UL - half;
    if (where % 2 == 0) {
        char *room = mmap(NULL, 2 * SLOT + size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (room == MAP_FAILED) _exit(97);
        char *boundary = (char *)(((uintptr_t)room + SLOT + half) & ~(uintptr_t)(SLOT - 1));
        if (boundary - half < room) boundary += SLOT;
        start = boundary - half;
    }
    if (mmap(start, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != start) _exit(97);
    world->arena = start + PAGE;
    world->origins = 1;
    for (unsigned i = 0; i < PAGES; i++) world->page[i] = (struct page){.origin = 1, .kind = PRIVATE};
}

static void keep(int fd, int number) {
    if (fd < 0 || dup2(fd, number) != number) _exit(96);
    close(fd);
}

static void make_files(void) {
    static char bytes[PAGE];
    int ends[2], constant = open("constant", O_RDWR | O_CREAT | O_TRUNC, 0600);
    int shared = open("shared", O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (constant < 0 || shared < 0 || pipe(ends)) _exit(96);
    for (unsigned page = 0; page < CONSTANT_PAGES; page++) {
        for (unsigned i = 0; i < PAGE; i++) bytes[i] = (char)(page * 7 + i % 251);
        if (write(constant, bytes, PAGE) != PAGE || write(shared, bytes, PAGE) != PAGE) _exit(96);
    }
    if (ftruncate(constant, CONSTANT_SIZE) || ftruncate(shared, SHARED_SIZE)) _exit(96);
    close(constant);
    keep(ends[0], LOOK_READ);
    keep(ends[1], LOOK_WRITE);
    keep(shared, SHARED_FILE);
    keep(open("constant", O_RDONLY), CONSTANT_FILE);
    keep(open("shared", O_WRONLY), WRITE_ONLY_FILE);
    keep(open(".", O_RDONLY | O_DIRECTORY), DIRECTORY);
}

static void read_program(const char *path) {
    int fd = open(path, O_RDONLY);
    ssize_t size = fd < 0 ? -1 : read(fd, text, TEXT_MAX - 1);
    if (size < 0) _exit(95);
    close(fd);
    char *rest = text;
    for (char *one; line_count < LINES_MAX && (one = strsep(&rest, "\n"));) {
        struct line *line = &lines[line_count++];
        char *word = strsep(&one, " ");
        line->operation = find(word);
        for (int i = 0; i < ARGUMENTS && one && (word = strsep(&one, " ")); i++) line->a[i] = strtol(word, NULL, 10) & 0x7fffffff;
    }
}

int main(int count, char **words, char **environment) {
    here = &first_world;
    own_path = words[0];
    if (count == 2 && strcmp(words[1], "report") == 0) {
        for (char **one = environment; *one; one++) note(" [%s]", *one);
        report_state();
        return 7;
    }
    if (count < 4) return 2;
    depth = atoi(words[3]);
    verbose = count > 4;
    text_path = words[1];
    read_program(text_path);
    shielded = line_count && lines[0].a[1] % 2;
    unsigned first = (unsigned)atoi(words[2]);
    if (!first) make_files();
    make_arena(here, line_count && strncmp(text, "arena", 5) == 0 ? (int)lines[0].a[0] : 0);
    run_lines(first, LINES_MAX);
    note("end:");
    verbose = 1;
    look(0, PAGES);
    report_state();
    note("\n");
    return 0;
}
