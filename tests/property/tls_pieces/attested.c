/* The runtime's RA-TLS identity with a clock that the test sets, in a process of its own.
 *
 * usage: attested SOCKET    each line of standard input is a time, seconds since 1970; each line of standard output is the error,
 *                           the certificate, and what its key signs of the certificate itself; "-" where there is none */
#include "attested.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "state.h"

struct state state;
static long the_time;

long syscall(long number, ...);
long rt_syscall(long number, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f);

long rt_syscall(long number, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f) {
    if (number == __NR_clock_gettime) {
        ((long *)ptr_of(b))[0] = the_time;
        return 0;
    }
    const long result = syscall(number, a, b, c, d, e, f);
    return result < 0 ? -errno : result;
}

/* region.c's, of ordinary memory: of exactly the size, for AddressSanitizer's sake. */
long region_create(struct region *region, u64 size) {
    *region = (struct region){addr_of(calloc(1, size ? size : 1)), size};
    return 0;
}

void region_drop(struct region *region) {
    free(ptr_of(region->at));
    *region = (struct region){0};
}

size_t copy_bounded(char *to, size_t size, const char *from) { return (size_t)snprintf(to, size, "%s", from); }

static void print(const u8 *bytes, size_t size) {
    putchar(' ');
    if (!size) putchar('-');
    for (size_t i = 0; i < size; i++) printf("%02x", bytes[i]);
}

int main(int count, char **words) {
    char line[64];
    const struct attested *attested;
    if (count != 2) return 2;
    copy_bounded(state.attester, sizeof state.attester, words[1]);
    while (fgets(line, sizeof line, stdin)) {
        u8 signature[SIGNATURE_MAX];
        const u8 random[SIGNING_RANDOM] = {0};
        the_time = atol(line);
        const long error = attested_now(&attested);
        printf("%ld", error);
        const size_t size = error ? 0 : attested->chain_size - 4;
        if (size && load32(attested->chain) != size) abort();
        print(size ? attested->chain + 4 : NULL, size);
        print(signature, size ? private_key_sign(&attested->key, random, attested->chain + 4, size, signature) : 0);
        putchar('\n');
        fflush(stdout);
    }
    return 0;
}
