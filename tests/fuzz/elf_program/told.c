/* What a loader must get right, in one line: constants, data, zeros, thread-local data, constructors, the auxiliary vector. */
#include <elf.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>

enum { SIZE = 5000, ZEROS = 3 * 4096 };

#define TEN(x) x, x + 1, x + 2, x + 3, x + 4, x + 5, x + 6, x + 7, x + 8, x + 9
#define HUNDRED(x) TEN(x), TEN(x + 10), TEN(x + 20), TEN(x + 30), TEN(x + 40), TEN(x + 50), TEN(x + 60), TEN(x + 70), TEN(x + 80), TEN(x + 90)

static const volatile int constants[SIZE] = {HUNDRED(1), HUNDRED(500)};
static volatile int data[SIZE] = {HUNDRED(7), HUNDRED(900)};
static volatile int zeros[ZEROS];
static __thread volatile int of_thread = 5, zero_of_thread;
static const volatile int *const volatile relocated[] = {&constants[3], &data[4]};
static volatile int constructed;
extern const Elf64_Ehdr __ehdr_start __attribute__((weak, visibility("hidden")));

__attribute__((constructor)) static void construct(void) { constructed = 17; }

static unsigned sum(const volatile int *numbers, int count) {
    unsigned all = 0;
    for (int i = 0; i < count; i++) all = all * 31 + (unsigned)numbers[i];
    return all;
}

int main(int count, char **words) {
    const char *name = (const char *)getauxval(AT_EXECFN);
    int named = strcmp(name + strlen(name) - 8, "/program") == 0; /* a strict enclave says the whole path */
    printf("%x %x %x %d %d %d %d %d", sum(constants, SIZE), sum(data, SIZE), sum(zeros, ZEROS), of_thread, zero_of_thread, constructed,
           *relocated[0], *relocated[1]);
    printf(" %d %s %d headers %ld at %ld\n", count, words[0], named, (long)getauxval(AT_PHNUM), (long)(getauxval(AT_PHDR) - (unsigned long)&__ehdr_start));
    zeros[ZEROS - 1] = data[SIZE - 1] = 1;
    return 7;
}
