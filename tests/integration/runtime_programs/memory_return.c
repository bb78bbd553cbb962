/* Memory that is freed: how much of it the system has again, and what it costs to use memory in turn.
 *
 * usage: memory_return HOW      takes 200 MiB, frees them HOW and prints "kept N": KiB more than before, after 0.1 s
 *        memory_return again MIB ROUNDS   maps, fills and unmaps so much; prints "faults N": pages touched anew from the fourth
 *        round on
 *        memory_return discard MIB ROUNDS   the same with MADV_DONTNEED
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MIB = 1 << 20, SIZE = 200 * MIB, PIECE = 200 << 10, SMALL = 1000, PAGE = 4096 };

static char *blocks[SIZE / SMALL];

static long resident(void) {
    char line[256];
    long kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file)) sscanf(line, "VmRSS: %ld", &kib);
    if (file) fclose(file);
    return kib;
}

static char *map(size_t size) {
    char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) exit(2);
    return at;
}

static char *filled(char *at, size_t size) {
    for (size_t i = 0; i < size; i += PAGE) at[i] = 1;
    return at;
}

static void unmapped(void) { munmap(filled(map(SIZE), SIZE), SIZE); }
static void discarded(void) { madvise(filled(map(SIZE), SIZE), SIZE, MADV_DONTNEED); }

/* As allocators do: mappings of some MiB, in which a page here and there stays. */
static void discarded_in_pieces(void) {
    const size_t large = 20 * MIB, piece = MIB / 2;
    for (size_t all = 0; all < SIZE; all += large) blocks[all / large] = filled(map(large), large);
    for (size_t all = 0; all < SIZE; all += piece) madvise(blocks[all / large] + all % large + PAGE, piece - PAGE, MADV_DONTNEED);
}

static void broken(void) {
    filled(sbrk(SIZE), SIZE);
    sbrk(-SIZE);
}

/* The heap shrinks in steps, as free(3) lets it. */
static void broken_in_steps(void) {
    filled(sbrk(SIZE), SIZE);
    for (size_t i = 0; i < SIZE; i += PIECE) sbrk(-(long)(SIZE - i < PIECE ? SIZE - i : PIECE));
}

/* What garbage collectors do: a reservation, of which pieces are made accessible, and inaccessible again. */
static void uncommitted(void) {
    char *at = mmap(NULL, 4UL << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (size_t i = 0; i < SIZE; i += MIB) {
        mprotect(at + i, MIB, PROT_READ | PROT_WRITE);
        filled(at + i, MIB);
    }
    for (size_t i = 0; i < SIZE; i += MIB)
        if (mmap(at + i, MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED) exit(2);
}

static void allocated(size_t size) {
    size_t count = SIZE / size;
    for (size_t i = 0; i < count; i++) blocks[i] = filled(malloc(size), size);
    for (size_t i = 0; i < count; i++) free(blocks[i]);
    malloc_trim(0);
}

static void pieces(void) { allocated(PIECE); }
static void small(void) { allocated(SMALL); }

/* In an order that is not that of addresses. */
static void scattered(void) {
    for (size_t i = 0; i < 200; i++) blocks[i] = filled(map(MIB), MIB);
    for (size_t i = 0; i < 200; i++) munmap(blocks[i * 77 % 200], MIB);
}

static const struct {
    const char *name;
    void (*run)(void);
} ways[] = {{"unmapped", unmapped}, {"discarded", discarded}, {"discarded_in_pieces", discarded_in_pieces}, {"broken", broken},
            {"broken_in_steps", broken_in_steps}, {"uncommitted", uncommitted}, {"pieces", pieces}, {"small", small}, {"scattered", scattered}};

static long faults(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

static void again(size_t size, int rounds, int discard) {
    long before = 0;
    char *kept = discard ? map(size) : NULL;
    for (int i = 0; i < rounds; i++) {
        if (i == 3) before = faults();
        char *at = filled(discard ? kept : map(size), size);
        if (discard) madvise(at, size, MADV_DONTNEED);
        else munmap(at, size);
    }
    printf("faults %ld\n", faults() - before);
}

int main(int count, char **word) {
    if (count == 4) {
        again(strtoul(word[2], NULL, 10) * MIB, atoi(word[3]), strcmp(word[1], "discard") == 0);
        return 0;
    }
    for (size_t i = 0; count == 2 && i < sizeof ways / sizeof *ways; i++) {
        if (strcmp(ways[i].name, word[1])) continue;
        long before = resident();
        ways[i].run();
        usleep(100000);
        printf("kept %ld\n", resident() - before);
        return 0;
    }
    return 2;
}
