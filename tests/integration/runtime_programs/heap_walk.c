/* A random walk over memory whose place the kernel chooses: the heap (brk), regions of a few bytes to 40 MB, private file mappings.
 *
 * usage: heap_walk FIRST_SEED SEEDS STEPS FILE     FILE: at least 64 pages, its byte i being (i / 4096 * 7 + i) % 251
 * Contents are checked by stamps: one word at the start and end of each page that was written; fresh memory must be zero. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "walk.h"

enum { REGIONS = 24, STAMPS = 16, LARGEST = 10240, FILE_PAGES = 64, HEAP_PAGES = 512 };

struct region {
    char *at;
    size_t pages;
    size_t stamped[STAMPS]; /* page + 1, 0: none */
    unsigned stamp;
};

static struct region regions[REGIONS];
static unsigned next_stamp, step, problems;
static char *heap_start;
static size_t heap_pages;
static unsigned heap_stamp[HEAP_PAGES];
static int file;

static void complain(const char *what, size_t which) {
    note("WRONG at step %u: %s %zu\n", step, what, which);
    problems++;
}

static void put_stamp(char *page, unsigned stamp) {
    memcpy(page, &stamp, sizeof stamp);
    memcpy(page + PAGE - sizeof stamp, &stamp, sizeof stamp);
}

static int has_stamp(const char *page, unsigned stamp) {
    unsigned first, last, middle;
    memcpy(&first, page, sizeof first);
    memcpy(&middle, page + PAGE / 2, sizeof middle);
    memcpy(&last, page + PAGE - sizeof last, sizeof last);
    return first == stamp && last == stamp && middle == 0;
}

static int is_stamped(const struct region *r, size_t page) {
    for (int i = 0; i < STAMPS; i++)
        if (r->stamped[i] == page + 1) return 1;
    return 0;
}

static void check_region(size_t which) {
    const struct region *r = &regions[which];
    if (!r->at) return;
    for (int i = 0; i < STAMPS; i++)
        if (r->stamped[i] && !has_stamp(r->at + (r->stamped[i] - 1) * PAGE, r->stamp)) complain("a stamp is lost in region", which);
    for (int i = 0; i < 4; i++) {
        size_t page = random_below(r->pages);
        if (!is_stamped(r, page) && !has_stamp(r->at + page * PAGE, 0)) complain("old bytes in fresh memory of region", which);
    }
}

static void stamp_some(struct region *r) {
    for (int i = 0; i < STAMPS; i++)
        if (!r->stamped[i] && coin(2)) {
            size_t page = random_below(r->pages);
            if (is_stamped(r, page)) continue;
            r->stamped[i] = page + 1;
            put_stamp(r->at + page * PAGE, r->stamp);
        }
}

static size_t some_pages(void) { return 1 + random_below(coin(8) ? LARGEST : coin(2) ? 512 : 16); }

static void step_map(size_t which) {
    struct region *r = &regions[which];
    if (r->at) return;
    size_t pages = some_pages();
    char *at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    note("map %zu: %s\n", pages, at == MAP_FAILED ? strerror(errno) : "ok");
    if (at == MAP_FAILED) return;
    *r = (struct region){.at = at, .pages = pages, .stamp = ++next_stamp};
    check_region(which);
    stamp_some(r);
}

static void step_unmap(size_t which) {
    struct region *r = &regions[which];
    if (!r->at) return;
    check_region(which);
    note("unmap %zu: %d\n", r->pages, munmap(r->at, r->pages * PAGE));
    r->at = NULL;
}

/* Gives up the front or the back of a region. */
static void step_trim(size_t which) {
    struct region *r = &regions[which];
    if (!r->at || r->pages < 2) return;
    size_t cut = 1 + random_below(r->pages - 1), front = coin(2) ? cut : 0;
    note("trim %zu of %zu: %d\n", cut, r->pages, munmap(front ? r->at : r->at + (r->pages - cut) * PAGE, cut * PAGE));
    r->at += front * PAGE;
    r->pages -= cut;
    for (int i = 0; i < STAMPS; i++) {
        if (r->stamped[i] <= front) r->stamped[i] = 0;
        else r->stamped[i] -= front;
        if (r->stamped[i] > r->pages) r->stamped[i] = 0;
    }
    check_region(which);
}

static void step_resize(size_t which) {
    struct region *r = &regions[which];
    if (!r->at) return;
    size_t pages = some_pages();
    char *at = mremap(r->at, r->pages * PAGE, pages * PAGE, MREMAP_MAYMOVE);
    note("resize %zu to %zu: %s\n", r->pages, pages, at == MAP_FAILED ? strerror(errno) : "ok");
    if (at == MAP_FAILED) return;
    r->at = at;
    r->pages = pages;
    for (int i = 0; i < STAMPS; i++)
        if (r->stamped[i] > pages) r->stamped[i] = 0;
    check_region(which);
    stamp_some(r);
}

static void step_discard(size_t which) {
    struct region *r = &regions[which];
    if (!r->at) return;
    size_t first = random_below(r->pages), count = 1 + random_below(r->pages - first);
    note("discard %zu+%zu: %d\n", first, count, madvise(r->at + first * PAGE, count * PAGE, MADV_DONTNEED));
    for (int i = 0; i < STAMPS; i++)
        if (r->stamped[i] > first && r->stamped[i] <= first + count) r->stamped[i] = 0;
    check_region(which);
}

static void check_heap(void) {
    for (size_t i = 0; i < heap_pages; i++)
        if (!has_stamp(heap_start + i * PAGE, heap_stamp[i])) complain("the heap has other bytes in page", i);
}

static void step_heap(size_t which) {
    size_t wanted = random_below(HEAP_PAGES);
    (void)which;
    note("break to %zu: %d\n", wanted, brk(heap_start + wanted * PAGE));
    if (sbrk(0) != heap_start + wanted * PAGE) complain("the break is elsewhere", wanted);
    for (size_t i = heap_pages; i < wanted; i++) heap_stamp[i] = 0;
    heap_pages = wanted;
    check_heap();
    for (size_t i = 0; i < heap_pages; i++)
        if (coin(3)) put_stamp(heap_start + i * PAGE, heap_stamp[i] = ++next_stamp);
}

static int is_file_page(const unsigned char *at, size_t page) {
    for (size_t i = 0; i < PAGE; i++)
        if (at[i] != (page * 7 + page * PAGE + i) % 251) return 0;
    return 1;
}

/* A private mapping of a file: its bytes, then ours, and the file never changes. */
static void step_file(size_t which) {
    size_t first = random_below(FILE_PAGES), pages = 1 + random_below(FILE_PAGES - first);
    int writable = coin(2);
    (void)which;
    unsigned char *at = mmap(NULL, pages * PAGE, PROT_READ | (writable ? PROT_WRITE : 0), MAP_PRIVATE, file, (off_t)(first * PAGE));
    note("file %zu+%zu writable %d: %s\n", first, pages, writable, at == MAP_FAILED ? strerror(errno) : "ok");
    if (at == MAP_FAILED) return;
    for (size_t i = 0; i < pages; i++)
        if (!is_file_page(at + i * PAGE, first + i)) complain("not the file's bytes in page", first + i);
    if (!writable && coin(2)) writable = mprotect(at, pages * PAGE, PROT_READ | PROT_WRITE) == 0;
    if (writable) memset(at, 0xee, pages * PAGE);
    if (writable && at[pages * PAGE - 1] != 0xee) complain("a private page was not written", first);
    munmap(at, pages * PAGE);
}

static void check_all(void) {
    for (size_t i = 0; i < REGIONS; i++) check_region(i);
    check_heap();
}

static void step_fork(void) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        check_all();
        for (size_t i = 0; i < REGIONS; i++)
            if (regions[i].at) memset(regions[i].at, 0xdd, PAGE);
        for (size_t i = 0; i < heap_pages; i++) put_stamp(heap_start + i * PAGE, 1);
        _exit(problems ? 1 : 0);
    }
    waitpid(child, &status, 0);
    note("fork: %d\n", status);
    check_all();
}

static void walk(unsigned seed, unsigned steps) {
    static void (*const acts[])(size_t) = {step_map, step_map, step_map, step_unmap, step_trim, step_resize, step_discard, step_heap, step_file};
    random_seed(seed);
    note("seed %u\n", seed);
    for (step = 0; step < steps; step++) {
        acts[random_below(sizeof acts / sizeof acts[0])](random_below(REGIONS));
        check_all();
        if (step % 64 == 63) step_fork();
    }
    for (size_t i = 0; i < REGIONS; i++) step_unmap(i);
}

int main(int count, char **words) {
    if (count != 5 || (file = open(words[4], O_RDONLY)) < 0) return 2;
    heap_start = (char *)(((uintptr_t)sbrk(0) + PAGE - 1) & ~(uintptr_t)(PAGE - 1));
    if (brk(heap_start)) return 2;
    unsigned first = (unsigned)atoi(words[1]), seeds = (unsigned)atoi(words[2]);
    for (unsigned seed = first; seed < first + seeds; seed++) walk(seed, (unsigned)atoi(words[3]));
    step_fork();
    return problems ? 1 : 0;
}
