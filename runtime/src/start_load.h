/* From a path to a program in memory. */
#ifndef CLOISTER_START_LOAD_H
#define CLOISTER_START_LOAD_H

#include "load.h"
#include "start.h"

struct program {
    struct loaded own, interpreter; /* the latter all zero if it needs none */
};

/* Follows `#!` lines, adding what they say to the arguments. Returns the path of the program proper, and in *fd its descriptor. */
const char *follow_scripts(struct program_stack *stack, const char *path, int *fd);
/* Exits with a message if it cannot. Closes the descriptor, and sets state.program. */
void load_program(const char *path, int fd, struct program *program);
/* The same before anything is known but the path: false, and nothing is done, if that is a script, or cannot be opened. */
NODISCARD bool load_early(const char *path, struct program *program);
u64 program_entry(const struct program *program);
/* Completes the stack. */
void lay_out(struct program_stack *stack, const char *path, const struct program *program, const u64 *auxiliary);

void resolve_link(const char *link, char *to); /* "" if it is none */
__attribute__((noreturn)) void refuse_program(const char *path, long error);

#endif
