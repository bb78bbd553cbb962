/* How many families of processes live, as guard 1 hears of them: a family is what came of one image by fork. The number may be too high
 * for a while, never too low: whoever believes to be alone must be. */
#ifndef CLOISTER_GUARD_FAMILIES_H
#define CLOISTER_GUARD_FAMILIES_H

#include "rt.h"

/* After guard_table.c has heard of the same. */
void guard_families_began(u32 tid);
void guard_families_joined(u32 tid, u32 creator);
void guard_families_executed(u32 tid, u32 former); /* by thread `former`, which is `tid` from now on */
void guard_families_ended(u32 tid);
/* A thread says that it is about to execute, or that it could not. */
void guard_families_executing(u32 tid, bool executing);
NODISCARD u64 guard_families_alive(void);
/* A thread says that its process is about to end: how many are alive but for others who said so. It may be too low: a process that
 * leaves may leave others of its family behind. */
NODISCARD u64 guard_families_staying(u32 tid);

/* A number for each family, of those that live; 0: it is not known yet which one. */
NODISCARD u16 guard_families_of(u32 tid);
NODISCARD bool guard_families_lives(u16 family);
/* One of its threads, each in its turn: `after` is the last. 0 if it has none. */
NODISCARD u32 guard_families_next(u16 family, u32 after);
/* The guard knows that a thread is about to be stopped, or that it is now. */
void guard_families_stopping(u32 tid, bool stopping);
/* A thread is about to execute, to leave or to be stopped; none of a family's is. */
NODISCARD bool guard_families_goes(u32 tid);
NODISCARD bool guard_families_stay(u16 family);

#endif
