/* A random walk over the memory calls inside one arena, checked page by page against a model and logged.
 *
 * usage: memory_walk FIRST_SEED SEEDS STEPS [fork]
 * Every page of the arena has, in the model, an origin (which mapping it came from), a protection and a fill byte. After each
 * step every page is looked at: pipes tell whether it can be read and written without a fault, and its bytes must be the
 * model's. The log is equal wherever mmap(2), munmap(2), mprotect(2), mremap(2) and madvise(2) mean the same. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "walk.h"

enum { PAGES = 48, LONGEST = 10, READ = PROT_READ, WRITE = PROT_WRITE, EXECUTE = PROT_EXEC };

struct page {
    unsigned origin; /* 0: nothing is mapped; pages of equal origin are surely in one mapping of the kernel's */
    int protection, fill, shared;
    int was_code; /* executable at some time: ordinary memory in an enclave from then on */
};

static unsigned char *arena;
static struct page model[PAGES];
static unsigned next_origin;
static int step, channel[2], problems;

static void *at(unsigned page) { return arena + (size_t)page * PAGE; }

/* Half of the calls go through libc's own sites, half through syscall(2), which no one can recognise beforehand. */
static long call_mmap(void *address, size_t size, int protection, int flags, int fd) {
    if (coin(2)) return outcome((long)mmap(address, size, protection, flags, fd, 0));
    return outcome(syscall(SYS_mmap, address, size, protection, flags, fd, 0));
}
static long call_munmap(void *address, size_t size) {
    return outcome(coin(2) ? munmap(address, size) : syscall(SYS_munmap, address, size));
}
static long call_mprotect(void *address, size_t size, int protection) {
    return outcome(coin(2) ? mprotect(address, size, protection) : syscall(SYS_mprotect, address, size, protection));
}
static long call_madvise(void *address, size_t size, int advice) {
    return outcome(coin(2) ? madvise(address, size, advice) : syscall(SYS_madvise, address, size, advice));
}
static long call_mremap(void *old, size_t old_size, size_t new_size, int flags, void *target) {
    if (coin(2)) return outcome((long)mremap(old, old_size, new_size, flags, target));
    return outcome(syscall(SYS_mremap, old, old_size, new_size, flags, target));
}

/* "ok" if the kernel put it where it was told to, else the error. */
static const char *name_of(long result, unsigned page) {
    static char text[24];
    snprintf(text, sizeof text, "error %ld", result);
    return result == (long)at(page) ? "ok" : text;
}

static void complain(const char *what, unsigned page) {
    note("WRONG at step %d: page %u: %s\n", step, page, what);
    problems++;
}

static int can_read(void *address) { return write(channel[1], address, 1) == 1; }

/* Puts back the byte that can_read took out, so nothing changes. */
static int can_write(void *address, int readable) {
    if (!readable && write(channel[1], "", 1) != 1) return -1;
    int done = read(channel[0], address, 1) == 1;
    char lost;
    if (!done && read(channel[0], &lost, 1) != 1) return -1;
    return done;
}

static void look_at(unsigned page) {
    const struct page *p = &model[page];
    int readable = p->origin && p->protection & (READ | WRITE | EXECUTE), writable = p->origin && p->protection & WRITE;
    if (can_read(at(page)) != readable) {
        complain(readable ? "cannot be read" : "can be read", page);
        return;
    }
    if (readable || !writable) {
        if (can_write(at(page), readable) != writable) complain(writable ? "cannot be written" : "can be written", page);
    }
    const unsigned char *bytes = at(page);
    for (unsigned i = 0; readable && i < PAGE; i++)
        if (bytes[i] != p->fill) {
            complain("holds other bytes", page);
            note("  byte %u is %d, should be %d\n", i, bytes[i], p->fill);
            return;
        }
}

static void look_at_all(void) {
    for (unsigned page = 0; page < PAGES; page++) look_at(page);
}

static void set_range(unsigned first, unsigned count, struct page value) {
    for (unsigned i = first; i < first + count; i++) model[i] = value;
}

/* What was one mapping still is, in this range, but not with its neighbours outside. */
static void split_off(unsigned first, unsigned count) {
    unsigned old = 0;
    for (unsigned i = first; i < first + count; i++) {
        if (model[i].origin != old) next_origin++;
        old = model[i].origin;
        model[i].origin = next_origin;
    }
}

static void fill_some(unsigned first, unsigned count) {
    for (unsigned i = first; i < first + count; i++)
        if (model[i].origin && model[i].protection & WRITE && !coin(3)) {
            model[i].fill = 1 + (int)random_below(255);
            memset(at(i), model[i].fill, PAGE);
        }
}

static int some_protection(void) {
    static const int choices[] = {0, READ, READ | WRITE, READ | WRITE, READ | WRITE, READ | EXECUTE};
    return choices[random_below(sizeof choices / sizeof choices[0])];
}

static void step_map(unsigned first, unsigned count) {
    int shared = coin(5), protection = shared ? READ | WRITE : some_protection();
    long result = call_mmap(at(first), (size_t)count * PAGE, protection,
                            (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS | MAP_FIXED, -1);
    note("map %u+%u prot %d shared %d: %s\n", first, count, protection, shared, name_of(result, first));
    if (result == (long)at(first))
        set_range(first, count, (struct page){.origin = ++next_origin, .protection = protection, .shared = shared, .was_code = protection & EXECUTE});
    fill_some(first, count);
}

static void step_unmap(unsigned first, unsigned count) {
    long result = call_munmap(at(first), (size_t)count * PAGE);
    note("unmap %u+%u: %ld\n", first, count, result);
    if (result == 0) set_range(first, count, (struct page){0});
}

/* mprotect(2) works from mapping to mapping and stops at a hole: what stands before it has changed. */
static void step_protect(unsigned first, unsigned count) {
    int protection = some_protection();
    for (unsigned i = first; i < first + count; i++)
        if (model[i].shared) protection &= ~EXECUTE; /* executable shared anonymous memory: refused in an enclave */
    long result = call_mprotect(at(first), (size_t)count * PAGE, protection);
    note("protect %u+%u prot %d: %ld\n", first, count, protection, result);
    unsigned changed = 0;
    for (; changed < count && model[first + changed].origin; changed++) {
        model[first + changed].protection = protection;
        model[first + changed].was_code |= protection & EXECUTE;
    }
    split_off(first, changed);
    fill_some(first, count);
}

static void step_discard(unsigned first, unsigned count) {
    long result = call_madvise(at(first), (size_t)count * PAGE, MADV_DONTNEED);
    note("discard %u+%u: %ld\n", first, count, result);
    for (unsigned i = first; i < first + count; i++)
        if (model[i].origin && !model[i].shared) model[i].fill = 0;
}

/* What may be read after MADV_FREE is open until the next write, so everything is written at once. */
static void step_free(unsigned first, unsigned count) {
    for (unsigned i = first; i < first + count; i++)
        if (!model[i].origin || model[i].shared || !(model[i].protection & WRITE)) return;
    note("free %u+%u: %ld\n", first, count, call_madvise(at(first), (size_t)count * PAGE, MADV_FREE));
    for (unsigned i = first; i < first + count; i++) memset(at(i), model[i].fill = 1 + (int)random_below(255), PAGE);
}

static void step_advise(unsigned first, unsigned count) {
    static const int harmless[] = {MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DODUMP};
    for (unsigned i = first; i < first + count; i++)
        if (!model[i].origin) return;
    int advice = harmless[random_below(sizeof harmless / sizeof harmless[0])];
    note("advise %u+%u %d: %ld\n", first, count, advice, call_madvise(at(first), (size_t)count * PAGE, advice));
    split_off(first, count); /* read-ahead advice is kept per mapping */
}

static int is_one_private_mapping(unsigned first, unsigned count) {
    for (unsigned i = first; i < first + count; i++)
        if (!model[i].origin || model[i].shared || model[i].origin != model[first].origin) return 0;
    return 1;
}

static int overlaps(unsigned a, unsigned a_count, unsigned b, unsigned b_count) { return a < b + b_count && b < a + a_count; }

static void step_move(unsigned first, unsigned count) {
    unsigned new_count = 1 + (unsigned)random_below(LONGEST), target = (unsigned)random_below(PAGES - new_count + 1);
    if (!is_one_private_mapping(first, count) || overlaps(first, count, target, new_count)) return;
    long result = call_mremap(at(first), (size_t)count * PAGE, (size_t)new_count * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at(target));
    note("move %u+%u to %u+%u: %s\n", first, count, target, new_count, name_of(result, target));
    if (result != (long)at(target)) return;
    struct page moved[LONGEST], fresh = {.protection = model[first].protection, .was_code = model[first].was_code};
    memcpy(moved, model + first, count * sizeof moved[0]);
    set_range(first, count, (struct page){0});
    fresh.origin = ++next_origin;
    set_range(target, new_count, fresh);
    for (unsigned i = 0; i < count && i < new_count; i++) model[target + i].fill = moved[i].fill;
}

/* Without leave to move: shrinking always works, growing needs a hole behind (and, in an enclave, memory that was never code). */
static void step_resize(unsigned first, unsigned count) {
    unsigned new_count = 1 + (unsigned)random_below(LONGEST);
    if (!is_one_private_mapping(first, count) || first + new_count > PAGES || model[first].was_code) return;
    if (new_count > count && first + count < PAGES && model[first + count].origin == model[first].origin) return; /* not its end */
    long result = call_mremap(at(first), (size_t)count * PAGE, (size_t)new_count * PAGE, 0, NULL);
    note("resize %u+%u to %u: %s\n", first, count, new_count, name_of(result, first));
    if (result != (long)at(first)) return;
    struct page grown = {.origin = model[first].origin, .protection = model[first].protection};
    for (unsigned i = count; i < new_count; i++) model[first + i] = grown;
    for (unsigned i = new_count; i < count; i++) model[first + i] = (struct page){0};
}

/* Out of the arena, larger, and back: the kernel chooses the place in between. */
static void step_round_trip(unsigned first, unsigned count) {
    if (!is_one_private_mapping(first, count)) return;
    size_t size = (size_t)count * PAGE, large = size + PAGE * (PAGES + random_below(300)); /* no hole is that large */
    long away = call_mremap(at(first), size, large, MREMAP_MAYMOVE, NULL);
    note("away %u+%u: %s\n", first, count, away < 0 && away > -4096 ? "failed" : "ok");
    if (away < 0 && away > -4096) return;
    long back = call_mremap((void *)away, large, size, MREMAP_MAYMOVE | MREMAP_FIXED, at(first));
    note("back: %s\n", name_of(back, first));
    for (unsigned i = first; i < first + count; i++) model[i].origin = next_origin + 1;
    next_origin++;
}

static void step_invalid(unsigned first, unsigned count) {
    size_t size = (size_t)count * PAGE;
    char *odd = (char *)at(first) + 1;
    switch (random_below(8)) {
    case 0: note("odd unmap: %ld\n", call_munmap(odd, size)); return;
    case 1: note("empty unmap: %ld\n", call_munmap(at(first), 0)); return;
    case 2: note("odd protect: %ld\n", outcome(syscall(SYS_mprotect, odd, size, READ))); return; /* musl rounds it */
    case 3: note("empty protect: %ld\n", call_mprotect(at(first), 0, READ)); return;
    case 4: note("empty map: %ld\n", call_mmap(NULL, 0, READ, MAP_PRIVATE | MAP_ANONYMOUS, -1)); return;
    case 5: note("odd map: %ld\n", call_mmap(odd, size, READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1)); return;
    case 6: note("map of nothing: %ld\n", call_mmap(NULL, size, READ, MAP_PRIVATE, -1)); return;
    default: note("odd discard: %ld\n", call_madvise(odd, size, MADV_DONTNEED)); return;
    }
}

/* The child sees the model, changes every private page, and leaves a mark in each shared one, which the parent must find. */
static void step_fork(void) {
    int status = 0;
    pid_t child = fork();
    if (child < 0) {
        note("fork failed: %d\n", errno);
        return;
    }
    if (child == 0) {
        look_at_all();
        for (unsigned i = 0; i < PAGES; i++)
            if (model[i].origin && model[i].protection & WRITE) memset(at(i), model[i].shared ? model[i].fill ^ 255 : 7, PAGE);
        _exit(problems ? 1 : 0);
    }
    waitpid(child, &status, 0);
    note("fork: %d\n", status);
    for (unsigned i = 0; i < PAGES; i++)
        if (model[i].origin && model[i].shared && model[i].protection & WRITE) model[i].fill ^= 255;
}

static void one_step(void) {
    static void (*const steps[])(unsigned, unsigned) = {step_map,  step_map,  step_map,    step_unmap,      step_protect, step_protect, step_discard,
                                                        step_free, step_move, step_resize, step_round_trip, step_advise,  step_invalid};
    unsigned count = 1 + (unsigned)random_below(LONGEST), first = (unsigned)random_below(PAGES - count + 1);
    steps[random_below(sizeof steps / sizeof steps[0])](first, count);
    look_at_all();
}

static void walk(unsigned seed, int steps, int forks) {
    random_seed(seed);
    note("seed %u\n", seed);
    if (mmap(arena, (size_t)PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != arena) _exit(98);
    set_range(0, PAGES, (struct page){.origin = next_origin = 1});
    for (step = 0; step < steps; step++) {
        one_step();
        if (forks && step == steps / 2) step_fork();
    }
    if (forks) step_fork();
    look_at_all();
}

int main(int count, char **words) {
    if (count < 4 || pipe(channel)) return 2;
    unsigned first = (unsigned)atoi(words[1]), seeds = (unsigned)atoi(words[2]);
    /* One page more stays as it is, so that nothing in the arena can grow past its end. */
    arena = mmap(NULL, (size_t)(PAGES + 1) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (arena == MAP_FAILED) return 2;
    for (unsigned seed = first; seed < first + seeds; seed++) walk(seed, atoi(words[3]), count > 4);
    return problems ? 1 : 0;
}
