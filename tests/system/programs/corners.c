/* What a processor does rarely: code that is written while it runs, accesses that straddle two pages, atomic operations,
 * long string instructions, files as memory. Prints the same on every instruction set. */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096 };

/* A function that returns a number below 2048, in each instruction set's own code. */
static size_t put_function(uint8_t *place, uint32_t number) {
#if defined __x86_64__
    uint8_t code[] = {0xb8, number & 0xff, number >> 8, 0, 0, 0xc3};
#elif defined __aarch64__
    uint32_t code[] = {0x52800000 | number << 5, 0xd65f03c0};
#else
    uint32_t code[] = {0x00000513 | number << 20, 0x00008067};
#endif
    memcpy(place, code, sizeof code);
    __builtin___clear_cache((char *)place, (char *)place + sizeof code);
    return sizeof code;
}

static void written_code(void) {
    uint8_t *code = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned long sum = 0;
    for (uint32_t n = 0; n < 300; n++) { /* rewritten in place, then called */
        put_function(code, n);
        sum += ((unsigned (*)(void))(uintptr_t)code)();
    }
    printf("rewritten in place %lu\n", sum);
    sum = 0;
    for (uint32_t n = 0; n < 300; n++) { /* written, protected, called, and unprotected again */
        uint8_t *page = code + (n % 4) * PAGE;
        mprotect(page, PAGE, PROT_READ | PROT_WRITE);
        put_function(page + n % 64 * 16, n);
        mprotect(page, PAGE, PROT_READ | PROT_EXEC);
        sum += ((unsigned (*)(void))(uintptr_t)(page + n % 64 * 16))();
    }
    printf("behind mprotect %lu\n", sum);
    munmap(code, 4 * PAGE);
}

static void straddles(void) {
    size_t pages = 600;
    uint8_t *memory = malloc(pages * PAGE);
    uint64_t check = 0;
    for (size_t n = 1; n < pages; n++) {
        uint64_t value = n * 0x0123456789abcdefu;
        memcpy(memory + n * PAGE - n % 7 - 1, &value, 8);
    }
    for (size_t n = pages - 1; n > 0; n--) {
        uint64_t value;
        memcpy(&value, memory + n * PAGE - n % 7 - 1, 8);
        check = check * 31 + value;
    }
    printf("straddled %llu\n", (unsigned long long)check);
    memset(memory, 'a', pages * PAGE);
    memmove(memory + 5, memory, (pages - 1) * PAGE);
    memory[pages * PAGE - 1] = 0;
    printf("long %zu %d\n", strlen((char *)memory), memcmp(memory, memory + 1, pages * PAGE - 2));
#if defined __x86_64__
    void *to = memory + 1, *from = memory + 300 * PAGE + 3;
    size_t count = 200 * PAGE;
    memset(from, 'b', count);
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
    printf("moved %d %d %d\n", memory[0] == 'a', memory[200 * PAGE] == 'b', memory[200 * PAGE + 1] == 'a');
#else
    printf("moved 1 1 1\n");
#endif
    free(memory);
}

static void atomics(void) {
    static _Atomic uint64_t counter;
    static _Atomic uint32_t narrow;
    uint64_t expected = 1000;
    for (int n = 0; n < 1000; n++) atomic_fetch_add(&counter, 1), atomic_fetch_xor(&narrow, (uint32_t)n * 77);
    int swapped = atomic_compare_exchange_strong(&counter, &expected, 5);
    int refused = atomic_compare_exchange_strong(&counter, &expected, 6);
    printf("atomic %d %d %llu %u\n", swapped, refused, (unsigned long long)counter, narrow);
}

static void mapped_files(void) {
    int file = open("mapped", O_CREAT | O_RDWR | O_TRUNC, 0600);
    for (int n = 0; n < 3 * PAGE; n++) write(file, &"0123456789"[n % 10], 1);
    char *copy = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, PAGE);
    char *seen = mmap(NULL, 3 * PAGE, PROT_READ, MAP_SHARED, file, 0);
    copy[0] = 'x';
    char back;
    pread(file, &back, 1, PAGE);
    printf("mapped %c %c %c %c\n", copy[0], copy[1], seen[2 * PAGE], back);
    struct iovec parts[3] = {{NULL, 0}, {"written ", 8}, {"in parts", 8}};
    printf("parts %zd\n", pwritev(file, parts, 3, 0));
    close(file);
}

static void waiting(void) {
    struct timeval begin, end;
    gettimeofday(&begin, NULL);
    usleep(1000);
    gettimeofday(&end, NULL);
    long passed = (end.tv_sec - begin.tv_sec) * 1000000 + end.tv_usec - begin.tv_usec;
    struct tm *day = gmtime(&(time_t){86400 * 365});
    printf("waited %d, processor time %d, year %d\n", passed >= 1000, clock() >= 0, day->tm_year + 1900);
}

int main(void) {
    written_code();
    straddles();
    atomics();
    mapped_files();
    waiting();
    return 0;
}
