/* Memory whose place the kernel chooses: mappings of up to 40 MiB, and the heap. They are larger than any hole of the arena. */
#define _GNU_SOURCE
#include "calls.h"

#include <sys/resource.h>

enum { REGIONS = 6, TOUCHED = 12, SMALLEST = PAGES + 8, LARGEST = 10240, HEAP_PAGES = 600 };

struct region {
    char *start;
    size_t pages, touched[TOUCHED]; /* page + 1 */
    int shared, split;
};

/* Threads have theirs. */
static __thread struct region regions[REGIONS];
static char *heap;
static size_t heap_pages;

static struct region *region_of(const long *a) { return &regions[a[0] % REGIONS]; }
static size_t some_pages(long a) { return SMALLEST + (size_t)(a % 11 == 0 ? a % LARGEST : a % 200); }

/* By a fault, not by the pipe, so that it works in threads. */
static uint64_t seen(const char *page) {
    volatile uint64_t hash = 7;
    here->jumps = 1;
    if (sigsetjmp(here->out, 1) == 0) hash = hash_page(page);
    here->jumps = 0;
    return hash;
}

static void look_at_region(const struct region *r) {
    uint64_t hash = 0;
    if (!r->start) return;
    for (int i = 0; i < TOUCHED; i++)
        if (r->touched[i]) hash = (hash ^ seen(r->start + (r->touched[i] - 1) * PAGE)) * 1099511628211ULL;
    hash ^= seen(r->start) ^ seen(r->start + (r->pages - 1) * PAGE) ^ seen(r->start + r->pages / 2 * PAGE);
    note(" saw %08x", (unsigned)(hash ^ hash >> 32));
}

static void op_region(const long *a) {
    static const int protections[] = {PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_NONE, PROT_READ};
    struct region *r = region_of(a);
    if (r->start) {
        note(" there");
        return;
    }
    size_t pages = some_pages(a[1]);
    int shared = a[3] % 4 == 0, flags = (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS | (a[3] % 5 == 1 ? MAP_NORESERVE : 0);
    void *start = mmap(NULL, pages * PAGE - (size_t)(a[4] % PAGE), PICK(protections, a[2]), flags, -1, 0);
    note(" %zu shared %d %ld", pages, shared, start == MAP_FAILED ? (long)errno : 0);
    if (start != MAP_FAILED) *r = (struct region){.start = start, .pages = pages, .shared = shared};
    look_at_region(r);
}

static void op_touch(const long *a) {
    struct region *r = region_of(a);
    if (!r->start) return;
    for (volatile int i = 0; i < 4; i++) {
        size_t page = (size_t)(a[1] * (i + 1) + a[2]) % r->pages;
        here->jumps = 1;
        if (sigsetjmp(here->out, 1) == 0) {
            *(volatile long *)(r->start + page * PAGE + a[3] % 500 * 8) = a[4] + i;
            r->touched[(a[5] + i) % TOUCHED] = page + 1;
        } else note(" fault");
        here->jumps = 0;
    }
    look_at_region(r);
}

/* Only the front or the back: memory that the kernel gives later may stand in a hole. */
static void op_trim(const long *a) {
    struct region *r = region_of(a);
    if (!r->start) return;
    size_t cut = a[2] % 3 == 0 || r->pages <= SMALLEST ? r->pages : 1 + (size_t)a[1] % (r->pages - SMALLEST + 1);
    size_t front = a[3] % 2 ? cut : 0;
    note(" %zu of %zu %ld", cut, r->pages, outcome(munmap(r->start + (front ? 0 : r->pages - cut) * PAGE, cut * PAGE)));
    r->start = cut == r->pages ? NULL : r->start + front * PAGE;
    r->pages -= cut;
    for (int i = 0; i < TOUCHED; i++) {
        r->touched[i] = r->touched[i] > front ? r->touched[i] - front : 0;
        if (r->touched[i] > r->pages) r->touched[i] = 0;
    }
    look_at_region(r);
}

static void op_guard(const long *a) {
    static const int protections[] = {PROT_READ | PROT_WRITE, PROT_NONE, PROT_READ};
    struct region *r = region_of(a);
    if (!r->start) return;
    size_t first = (size_t)a[1] % r->pages, count = 1 + (size_t)a[2] % (r->pages - first);
    r->split = 1;
    note(" %zu+%zu %ld", first, count, outcome(mprotect(r->start + first * PAGE, count * PAGE, PICK(protections, a[3]))));
    look_at_region(r);
}

static void op_grow(const long *a) {
    struct region *r = region_of(a);
    size_t pages = some_pages(a[1]);
    /* What grows behind its end in shared memory cannot be touched; a region of several mappings cannot be moved. */
    if (!r->start || r->split || (r->shared && pages > r->pages)) {
        note(" skipped");
        return;
    }
    void *start = mremap(r->start, r->pages * PAGE, pages * PAGE, MREMAP_MAYMOVE);
    note(" %zu to %zu %ld", r->pages, pages, start == MAP_FAILED ? (long)errno : 0);
    if (start == MAP_FAILED) return;
    r->start = start;
    r->pages = pages;
    for (int i = 0; i < TOUCHED; i++)
        if (r->touched[i] > pages) r->touched[i] = 0;
    look_at_region(r);
}

static void op_discard(const long *a) {
    struct region *r = region_of(a);
    if (!r->start) return;
    size_t first = (size_t)a[1] % r->pages, count = 1 + (size_t)a[2] % (r->pages - first);
    note(" %zu+%zu %ld", first, count, outcome(madvise(r->start + first * PAGE, count * PAGE, MADV_DONTNEED)));
    look_at_region(r);
}

/* The heap's end moves by bytes; brk(2) itself, for musl's brk(3) does nothing. */
static void op_break(const long *a) {
    if (!heap) heap = (char *)((syscall(SYS_brk, 0) + PAGE - 1) & ~(long)(PAGE - 1));
    size_t wanted = a[1] % 8 == 7 ? heap_pages : (size_t)a[0] % HEAP_PAGES;
    char *end = heap + wanted * PAGE - (wanted ? (size_t)a[2] % PAGE : 0);
    char *now = (char *)syscall(SYS_brk, a[1] % 16 == 6 ? heap - 64 * SLOT : a[1] % 16 == 5 ? heap + (1UL << 46) : end);
    note(" %zu %ld", wanted, (long)(now - heap));
    heap_pages = (size_t)(now - heap + PAGE - 1) / PAGE;
    uint64_t hash = 0;
    for (size_t i = 0; i < heap_pages; i += 1 + (size_t)a[3] % 7) hash = (hash ^ seen(heap + i * PAGE)) * 31;
    for (size_t i = 0; i < heap_pages; i += 1 + (size_t)a[4] % 13)
        if (can_write(heap + i * PAGE)) *(long *)(heap + i * PAGE + a[5] % 500 * 8) = a[5] + (long)i;
    note(" saw %08x behind %d", (unsigned)(hash ^ hash >> 32), can_read(heap + heap_pages * PAGE));
}

/* As deep as the limit at the start allows. */
__attribute__((noinline)) static long deep(long levels) {
    volatile char frame[PAGE];
    frame[0] = (char)levels;
    frame[PAGE - 1] = 1;
    return levels ? deep(levels - 1) + frame[PAGE - 1] : 0;
}

static void op_stack(const long *a) {
    struct rlimit limit;
    long most = getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY ? (long)limit.rlim_cur : 8 << 20;
    note(" %ld", deep(a[0] % (most / (PAGE + 256) * 3 / 4)));
}

const struct operation region_operations[] = {
    {"region", op_region, 1}, {"touch", op_touch, 1}, {"trim", op_trim, 1},   {"guard", op_guard, 1}, {"grow", op_grow, 1},
    {"discard", op_discard, 1}, {"break", op_break, 0}, {"stack", op_stack, 0}, {NULL, NULL, 0},
};
