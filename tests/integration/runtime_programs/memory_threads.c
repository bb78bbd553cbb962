/* Threads that map, fill, discard, move and unmap memory of very different sizes at the same time, each its own, and look at
 * every page of it.
 *
 * usage: memory_threads SECONDS       prints "right", or what was wrong
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

enum { THREADS = 4, BLOCKS = 6, PAGE = 4096, SMALLEST = 2, LARGEST = 12 /* powers of two, in pages */ };

struct block {
    unsigned char *at;
    size_t size;
    unsigned char mark; /* on every page; 0 where nothing was written */
};

static time_t end;
static volatile int wrong;

static void complain(const char *what) {
    if (!__sync_fetch_and_add(&wrong, 1)) puts(what);
}

static void check(const struct block *block) {
    for (size_t i = 0; i < block->size; i += PAGE)
        if (block->at[i] != block->mark || block->at[i + PAGE - 1] != 0) complain("a byte is another one");
}

static void fill(struct block *block, unsigned char mark) {
    block->mark = mark;
    for (size_t i = 0; i < block->size; i += PAGE) block->at[i] = mark;
}

static void map(struct block *block, size_t size) {
    block->size = size;
    block->at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block->at == MAP_FAILED) exit(2);
    block->mark = 0;
}

static void grow(struct block *block) {
    unsigned char *at = mremap(block->at, block->size, 2 * block->size, MREMAP_MAYMOVE);
    if (at == MAP_FAILED) exit(2);
    block->at = at;
    for (size_t i = 0; i < block->size; i += PAGE)
        if (at[block->size + i]) complain("new memory is not zero");
    block->size *= 2;
    fill(block, block->mark);
}

static void change(struct block *block, unsigned int *seed) {
    unsigned int what = (unsigned int)rand_r(seed) % 8;
    if (!block->at) map(block, (size_t)PAGE << (SMALLEST + rand_r(seed) % (LARGEST - SMALLEST)));
    check(block);
    if (what < 4) fill(block, (unsigned char)(1 + rand_r(seed) % 255));
    else if (what == 4) madvise(block->at, block->size, MADV_DONTNEED), block->mark = 0;
    else if (what == 5 && block->size < (size_t)PAGE << LARGEST) grow(block);
    else munmap(block->at, block->size), block->at = NULL;
    if (block->at) check(block);
}

static void *work(void *number) {
    unsigned int seed = *(unsigned int *)number;
    struct block blocks[BLOCKS] = {{0}};
    while (time(NULL) < end && !wrong)
        for (int i = 0; i < 20; i++) change(&blocks[rand_r(&seed) % BLOCKS], &seed);
    return NULL;
}

int main(int count, char **word) {
    pthread_t threads[THREADS];
    unsigned int seeds[THREADS];
    end = time(NULL) + (count == 2 ? atoi(word[1]) : 1);
    for (unsigned int i = 0; i < THREADS; i++) {
        seeds[i] = i + 1;
        pthread_create(&threads[i], NULL, work, &seeds[i]);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    if (!wrong) puts("right");
    return wrong != 0;
}
