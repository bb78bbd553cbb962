/* What the runtime was asked to do, and what the kernel told it. */
#ifndef CLOISTER_START_H
#define CLOISTER_START_H

#include "rt.h"

struct words {
    u64 count;
    char **word;
};

struct kernel_stack { /* as execve(2) leaves it (psABI 3.4.1) */
    u64 pointer;
    struct words arguments, environment;
    u64 *auxiliary;
};

struct options {
    bool shielded; /* the start block has a shield block */
    int start_fd, program_fd, handoff_fd, manifest_fd; /* -1 if not given */
    const char *program;
    struct words arguments; /* argv[0] included */
};

/* Parses the runtime's own command line; exits with a usage message if it is wrong. Writes paths into `state`. */
void options_parse(const struct kernel_stack *stack, struct options *out);

/* The program's stack: argv and environment in secret memory, from the runtime's own words, the start block on start_fd or what
 * the process sealed that executed this image (handoff_fd), which also says which program that is. */
struct program_stack {
    u64 low, top; /* top: where strings begin */
    struct words arguments, environment;
};
void stack_create(struct program_stack *stack);
/* Before the first word: there will be so many at most, but for a few. Then both lists fit few pages. */
void stack_expect(struct program_stack *stack, u64 words);
void stack_take_words(struct program_stack *stack, struct options *options, const struct words *environment);
/* Adds one word of `size` bytes to one of the two lists. */
void stack_add(struct program_stack *stack, struct words *list, const char *word, size_t size);
/* Inserts words before argv[1..] (what a `#!` line asks for) and replaces argv[0]. */
void stack_insert_script(struct program_stack *stack, const char *interpreter, const char *argument, const char *script);
/* Lays out argc, argv, envp and the auxiliary vector; returns the stack pointer to enter the program with. */
u64 stack_finish(struct program_stack *stack, const u64 *auxiliary, const u64 (*overrides)[2], size_t override_count);
/* Room for a word of `size` bytes, appended to one of the stack's lists; the caller fills it. */
char *stack_new_word(struct program_stack *stack, struct words *list, u64 size);
const char *stack_push(struct program_stack *stack, const void *bytes, size_t size);

#endif
