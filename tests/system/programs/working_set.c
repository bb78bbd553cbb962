/* Touches as many MiB as its argument says, twice, in an order that no cache likes; prints a check sum. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **words) {
    size_t pages = (size_t)(count > 1 ? atoi(words[1]) : 1) * 256, check = 0;
    volatile uint64_t *memory = malloc(pages * 4096);
    if (!memory) {
        perror("malloc");
        return 1;
    }
    for (size_t n = 0; n < pages; n++) memory[(n * 7919 % pages) * 512 + n % 512] = n * n;
    for (size_t n = 0; n < pages; n++) check = check * 31 + memory[(n * 7919 % pages) * 512 + n % 512];
    printf("%zu pages, check %zu\n", pages, check);
    return 0;
}
