/* What the random walks share: a generator that is the same everywhere, and a log without addresses. */
#ifndef WALK_H
#define WALK_H

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAGE = 4096 };

static uint64_t random_state;

static inline void random_seed(uint64_t seed) { random_state = seed * 0x9e3779b97f4a7c15ULL + 1; }

/* xorshift64*; `below` > 0. */
static inline uint64_t random_below(uint64_t below) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (random_state * 0x2545f4914f6cdd1dULL >> 33) % below;
}

static inline int coin(int one_in) { return random_below((uint64_t)one_in) == 0; }

/* Straight to the descriptor: stdio would allocate between the calls under test, and a killed child would lose it. */
static inline void note(const char *format, ...) {
    char line[256];
    va_list words;
    va_start(words, format);
    int length = vsnprintf(line, sizeof line, format, words);
    va_end(words);
    if (write(1, line, (size_t)length) != length) _exit(99);
}

/* A call's outcome: 0 and up as it is, an error as its negative number. */
static inline long outcome(long result) { return result == -1 ? -errno : result; }

#endif
