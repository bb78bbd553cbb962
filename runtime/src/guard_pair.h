/* What the two sides of guard.c and guard_pair.c share. */
#ifndef CLOISTER_GUARD_PAIR_H
#define CLOISTER_GUARD_PAIR_H

#include "rt.h"

/* Told to the program by guard 1. */
enum verdict { HELD = 1, PROGRAM_IS_TRACED, GUARD_IS_TRACED, NO_SECRET_MEMORY };

struct guard {
    int channel; /* to the program, and between the guards */
    int console; /* to the person at a shielded console, -1 if there is none: guard_console.c */
    long program, first, second;
    u64 kernel_stack;
    u64 memory; /* guard 1's: guard_pair.c */
};

__attribute__((noreturn)) void guard_first_main(struct guard *guard); /* guard 1, on whatever stack it was cloned on */

void say(int channel, u32 word);
u32 hear(int channel); /* 0 if the other side is gone */
__attribute__((noreturn)) void end(void);
void allow_tracer(long pid);
bool is_alone(void); /* whether nobody else runs in this memory */

#endif
