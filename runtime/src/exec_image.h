/* The runtime's new image for a program that is executed, and what it is told. */
#ifndef CLOISTER_EXEC_IMAGE_H
#define CLOISTER_EXEC_IMAGE_H

#include "call.h"

struct image { /* what the program asked for */
    int program_fd; /* -1: `path` is to be opened */
    const char *path;
    char *const *arguments, *const *environment;
};

/* Does not return if it succeeds. */
long execute_image(const struct call *call, const struct image *image);
/* execve(2) itself, under the program's signal mask. */
long execute_in_kernel(const struct call *call, const char *path, char *const *words, char *const *environment);

#endif
