/* Telling a person why a program was not started. Nothing has run when these are called. */
#ifndef CLOISTER_FAIL_H
#define CLOISTER_FAIL_H

#include "rt.h"

/* Prints "cloister: WHAT (errno N)" and, if there is one, "  fix: FIX" on standard error, then exits with `code`. */
__attribute__((noreturn)) void fail(int code, const char *what, long error, const char *fix);
/* The same with the program's path in front: "cloister: PATH: WHAT". */
__attribute__((noreturn)) void fail_program(int code, const char *path, const char *what, const char *fix);
/* Secret memory was refused: says whether the kernel or the limit is the reason. */
__attribute__((noreturn)) void fail_secret_memory(long error);
/* Exits with INTERNAL if `result` is an error. */
void require(long result, const char *what);

#endif
