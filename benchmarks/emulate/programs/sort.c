/* qsort of N thousand numbers: sort N */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static int ascending(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

int main(int count, char **words) {
    size_t size = (size_t)(count > 1 ? atoi(words[1]) : 1) * 1000;
    uint64_t *numbers = malloc(size * sizeof *numbers), state = 88172645463325252u, sum = 0;
    if (!numbers) return 1;
    for (size_t i = 0; i < size; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        numbers[i] = state;
    }
    qsort(numbers, size, sizeof *numbers, ascending);
    for (size_t i = 0; i < size; i += 1000) sum = sum * 31 + numbers[i];
    printf("%llu\n", (unsigned long long)sum);
    return 0;
}
