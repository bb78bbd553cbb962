/* How a program ended, told by guard 1 to the person at its shielded console (docs/formats/console.md): a program that was killed cannot
 * say it, and nobody else knows how many records there were. */
#ifndef CLOISTER_GUARD_CONSOLE_H
#define CLOISTER_GUARD_CONSOLE_H

#include "rt.h"

/* Which of the guard's words are the console's: records of output, how far input was read, modes of the terminal. */
enum { WORD_OUTPUT = 12, WORD_INPUT, WORD_MODES };

/* A thread was given this number for a record of output, its last. */
void guard_console_numbered(u32 tid, u64 number);
/* A thread has ended: the record of its last number may never come. Then the person shall not take it for withheld. */
void guard_console_lost(int console, u32 tid);
/* The tree's first process has ended, with this status of wait(2). `console` is -1 if nothing is to be said. */
void guard_console_ended(int console, int status);
/* All of its processes have. */
void guard_console_over(int console);

#endif
