/* Byte and string routines. The compiler may call memcpy, memset and memcmp on its own, so they exist here. */
#include "rt.h"

typedef u64 __attribute__((may_alias, aligned(1))) loose_word;

enum { SHORT = 128 }; /* below it, words are quicker than to start the string instruction */

void *memcpy(void *to, const void *from, size_t n) {
    void *start = to;
    if (n < SHORT) {
        u8 *out = to;
        const u8 *in = from;
        for (; n >= sizeof(u64); n -= sizeof(u64), in += sizeof(u64), out += sizeof(u64)) *(loose_word *)out = *(const loose_word *)in;
        for (; n; n--) *out++ = *in++;
        return start;
    }
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
    return start;
}

void *memset(void *to, int byte, size_t n) {
    void *start = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(byte) : "memory");
    return start;
}

int memcmp(const void *a, const void *b, size_t n) {
    const u8 *x = a, *y = b;
    for (size_t i = 0; i < n; i++)
        if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
    return 0;
}

size_t strlen(const char *s) {
    size_t n = 0;
    while (s[n]) n++;
    return n;
}

bool same_string(const char *a, const char *b) {
    while (*a && *a == *b) a++, b++;
    return *a == *b;
}

bool starts_with(const char *s, const char *prefix) {
    while (*prefix)
        if (*s++ != *prefix++) return false;
    return true;
}

/* Appends `s` at offset `at` of a buffer of `size` bytes, always NUL-terminated; returns the new offset. */
size_t append(char *to, size_t at, size_t size, const char *s) {
    while (*s && at + 1 < size) to[at++] = *s++;
    to[at] = 0;
    return at;
}

size_t append_number(char *to, size_t at, size_t size, u64 value) {
    char digits[21];
    size_t i = sizeof digits - 1;
    digits[i] = 0;
    do {
        digits[--i] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    return append(to, at, size, digits + i);
}

size_t copy_bounded(char *to, size_t size, const char *from) { return append(to, 0, size, from); }
