/* What memory costs: first touch of a page, and mapping and unmapping 64 KiB untouched and touched, 4 MiB
 * touched, and 64 GiB untouched.
 *
 * prints "first-touch N" (us per page), and "map-untouched N", "map-touched N", "map-large N", "map-huge N" (us per mmap
 * and munmap).
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "clock.h"

enum { PAGE = 4096, BLOCK = 64 << 10, LARGE = 4 << 20, TOUCHED_BYTES = 32 << 20 };
static const size_t HUGE = (size_t)64 << 30;
enum { UNTOUCHED_ROUNDS = 20000, TOUCHED_ROUNDS = 5000, LARGE_ROUNDS = 50, HUGE_ROUNDS = 5 };

static volatile char *map(size_t length)
{
    /* More than the machine has is refused unless it is said that it need not be there. */
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | (length == HUGE ? MAP_NORESERVE : 0);
    void *mapped = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, -1, 0);

    if (mapped == MAP_FAILED) {
        perror("memory: mmap");
        exit(1);
    }
    return mapped;
}

static void touch(volatile char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i += PAGE)
        bytes[i] = 1;
}

static double first_touch(void)
{
    volatile char *bytes = map(TOUCHED_BYTES);
    double begin;

    /* A huge page would be one fault for 512 pages: the row is about the cost of a fault. */
    madvise((void *)bytes, TOUCHED_BYTES, MADV_NOHUGEPAGE);
    begin = now();
    touch(bytes, TOUCHED_BYTES);
    return (now() - begin) / (TOUCHED_BYTES / PAGE) * 1e6;
}

static double map_and_unmap(int rounds, size_t length, size_t touched)
{
    double begin = now();

    for (int i = 0; i < rounds; i++) {
        volatile char *bytes = map(length);

        touch(bytes, touched);
        munmap((void *)bytes, length);
    }
    return (now() - begin) / rounds * 1e6;
}

int main(void)
{
    printf("first-touch %.4f\n", first_touch());
    printf("map-untouched %.4f\n", map_and_unmap(UNTOUCHED_ROUNDS, BLOCK, 0));
    printf("map-touched %.4f\n", map_and_unmap(TOUCHED_ROUNDS, BLOCK, BLOCK));
    printf("map-large %.4f\n", map_and_unmap(LARGE_ROUNDS, LARGE, LARGE));
    printf("map-huge %.4f\n", map_and_unmap(HUGE_ROUNDS, HUGE, 0));
    return 0;
}
