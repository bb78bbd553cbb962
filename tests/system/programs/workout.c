/* What ordinary programs do, in one: floating point, jumps, recursion, allocation, files, many small writes.
 * Prints the same on every instruction set. Works in its current directory. */
#include <complex.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void floats(void) {
    double sum = 0;
    for (int n = 1; n <= 2000; n++) sum += sin(n) * exp(-n / 500.0) + sqrt(n) / log(n + 1.5);
    float narrow = 0;
    for (int n = 1; n <= 2000; n++) narrow += 1.0f / (float)n;
    printf("floats %.9f %.4f %.6e %d\n", sum, narrow, cabs(cexp(1.0 + 2.0 * I)), (int)lrint(2.5));
    volatile long double one = 1, three = 3;
    printf("long %.15f\n", (double)(one / three));
    printf("special %f %f %d %d\n", INFINITY, 1.0 / -INFINITY, isnan(NAN), isinf(1e308 * 10));
}

/* Vectors: GCC's own, which become SSE, NEON, or plain instructions. */
typedef uint32_t lanes __attribute__((vector_size(16)));

static void vectors(void) {
    lanes sum = {0, 0, 0, 0}, step = {1, 2, 3, 4};
    for (uint32_t n = 0; n < 5000; n++) sum = (sum ^ (step << (n % 7))) + step * n;
    printf("vectors %u %u %u %u\n", sum[0], sum[1], sum[2], sum[3]);
}

static jmp_buf back;

static void dive(int depth) {
    volatile char room[64];
    room[0] = (char)depth;
    if (depth == 0) longjmp(back, 7);
    dive(depth - 1);
    room[1] = room[0];
}

static void jumps(void) {
    int came = setjmp(back);
    if (came == 0) dive(40000); // some MiB of stack
    printf("jumped %d\n", came);
}

static unsigned long ackermann(unsigned long m, unsigned long n) {
    if (m == 0) return n + 1;
    return n == 0 ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann(m, n - 1));
}

static int by_value(const void *one, const void *other) {
    uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
    return a < b ? -1 : a > b;
}

static void sorting(void) {
    enum { COUNT = 20000 };
    uint32_t *numbers = malloc(COUNT * sizeof *numbers), seed = 1, check = 0;
    for (int n = 0; n < COUNT; n++) numbers[n] = seed = seed * 1664525u + 1013904223u;
    qsort(numbers, COUNT, sizeof *numbers, by_value);
    for (int n = 0; n < COUNT; n++) check = check * 31 + numbers[n];
    printf("sorted %u %u %u\n", numbers[0], numbers[COUNT - 1], check);
    free(numbers);
}

static void allocations(void) {
    char *kept[64] = {0};
    unsigned long check = 0;
    for (unsigned n = 0; n < 2000; n++) {
        unsigned place = n * 37 % 64;
        free(kept[place]);
        kept[place] = malloc(1 + n * 131 % 9000);
        memset(kept[place], (int)(n & 0xff), 1 + n * 131 % 9000);
        check += (unsigned char)kept[place][n * 131 % 9000];
    }
    for (int n = 0; n < 64; n++) free(kept[n]);
    char *grown = malloc(10);
    strcpy(grown, "begin");
    for (size_t size = 100; size < 4000000; size *= 3) grown = realloc(grown, size);
    char *mapped = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mapped[(1 << 20) - 1] = 'x';
    printf("allocated %lu %s %c\n", check, grown, mapped[(1 << 20) - 1]);
    int locked = mprotect(mapped, 4096, PROT_READ);
    printf("protected %d, unmapped %d\n", locked, munmap(mapped, 1 << 20));
    free(grown);
}

static int by_name(const struct dirent **one, const struct dirent **other) {
    return strcmp((*one)->d_name, (*other)->d_name);
}

static void files(void) {
    struct stat status;
    char text[64] = "";
    mkdir("work", 0750);
    FILE *file = fopen("work/a name with spaces", "w+");
    for (int n = 0; n < 3000; n++) fprintf(file, "line %d\n", n);
    fseek(file, -5, SEEK_END);
    fgets(text, sizeof text, file);
    fclose(file);
    stat("work/a name with spaces", &status);
    printf("file %ld bytes, mode %o, ends %s", (long)status.st_size, (unsigned)status.st_mode, text);
    rename("work/a name with spaces", "work/h\xc3\xa4\xc3\xa9 \xff\n.txt");
    close(open("work/.hidden", O_CREAT | O_WRONLY, 0600));
    open("work/.hidden", O_CREAT | O_EXCL | O_WRONLY, 0600);
    printf("again: errno %d\n", errno);
    open("work/missing", O_RDONLY);
    printf("missing: errno %d\n", errno);
    struct dirent **names;
    int count = scandir("work", &names, NULL, by_name);
    for (int n = 0; n < count; n++) printf("entry %s\n", names[n]->d_name);
    int handle = open("work/holes", O_CREAT | O_RDWR, 0644);
    pwrite(handle, "end", 3, 100000);
    ftruncate(handle, 50000);
    fstat(handle, &status);
    printf("holes %ld, at %ld\n", (long)status.st_size, (long)lseek(handle, 0, SEEK_CUR));
    close(handle);
    unlink("work/.hidden");
    rmdir("work");
    printf("not empty: errno %d\n", errno);
}

static void clocks(void) {
    struct timespec before, after, nap = {0, 2000000};
    clock_gettime(CLOCK_MONOTONIC, &before);
    nanosleep(&nap, NULL);
    clock_gettime(CLOCK_MONOTONIC, &after);
    long passed = (after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec;
    printf("slept %d, a year after 2020 %d\n", passed >= 2000000, time(NULL) > 1577836800);
}

static void small_writes(void) {
    fflush(stdout);
    for (int n = 0; n < 500; n++) write(1, &"0123456789"[n % 10], 1);
    write(1, "\n", 1);
}

extern char **environ;

int main(int count, char **words) {
    for (int n = 1; n < count; n++) printf("word %d: %s\n", n, words[n]);
    printf("WORKOUT=%s HOME=%s\n", getenv("WORKOUT"), getenv("HOME"));
    floats();
    vectors();
    jumps();
    printf("ackermann %lu\n", ackermann(2, 300));
    sorting();
    allocations();
    files();
    clocks();
    small_writes();
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    while ((length = getline(&line, &room, stdin)) > 0) printf("read %zd: %s", length, line);
    printf("end of input %d\n", feof(stdin) != 0);
    fprintf(stderr, "to standard error\n");
    return 42;
}
