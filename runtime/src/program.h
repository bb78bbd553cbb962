/* Finding what to load: the program's file, through `#!` lines, as execve(2) would. */
#ifndef CLOISTER_PROGRAM_H
#define CLOISTER_PROGRAM_H

#include "rt.h"

enum { SCRIPT_LINE = 256, SCRIPT_DEPTH = 5 }; /* BINPRM_BUF_SIZE; scripts in a row that the kernel follows (fs/exec.c) */

struct script_line {
    char text[SCRIPT_LINE + 1];
    const char *interpreter, *argument; /* into text; argument is NULL if there is none */
};

/* 0 if `path` is a regular file that may be executed, or what execve(2) would return. */
NODISCARD long program_may_execute(const char *path);
/* Opens `path` if it may be executed: a descriptor, or what execve(2) would return. */
NODISCARD long program_open(const char *path);
/* 1 if the file begins with a `#!` line (then *line is filled), 0 if not, or -errno. */
NODISCARD long program_script(int fd, struct script_line *line);
/* 0 if execve(2) of this open file would succeed as far as its format and interpreters go. Does not close it. */
NODISCARD long program_check(int fd);
NODISCARD bool program_is_elf64(int fd);

#endif
