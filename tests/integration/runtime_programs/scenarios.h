/* A program of named scenarios: without words it lists them, with one it runs it. */
#ifndef SCENARIOS_H
#define SCENARIOS_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct scenario {
    const char *name;
    void (*run)(void);
};

#define SCENARIO(name) \
    { #name, name }

static inline int run_scenario(const struct scenario *all, size_t count, int words, char **word) {
    setvbuf(stdout, NULL, _IONBF, 0); /* forked children must not print what the parent had buffered */
    for (size_t i = 0; i < count; i++) {
        if (words < 2) puts(all[i].name);
        else if (strcmp(word[1], all[i].name) == 0) {
            all[i].run();
            return 0;
        }
    }
    return words < 2 ? 0 : 2;
}

#define RUN_SCENARIOS(all) \
    int main(int words, char **word) { return run_scenario(all, sizeof all / sizeof *all, words, word); }

/* An outcome as text: errno's name differs in length, not in meaning, between libcs, so the number is printed. */
static inline long result_of(long result) { return result == -1 ? -errno : result; }

#endif
