/* Which threads of the program live, as guard 1 hears of them: a clone's parent and the new thread report in either order, and
 * the new thread may be dead before its parent's report is read. */
#ifndef CLOISTER_GUARD_TABLE_H
#define CLOISTER_GUARD_TABLE_H

#include "rt.h"

enum { GUARD_TABLE_SIZE = 1 << 22 }; /* PID_MAX_LIMIT of 64-bit kernels (linux/threads.h) */

/* So many bytes, all zero. Before everything else. */
void guard_table_use(u8 *memory);
void guard_table_seen(u32 tid);      /* the thread itself has stopped */
void guard_table_announced(u32 tid); /* its creator reports it */
void guard_table_ended(u32 tid);
NODISCARD bool guard_table_live(void);
NODISCARD u64 guard_table_count(void);
NODISCARD bool guard_table_lives(u32 tid);

/* A new image of the runtime may have the tree's key once: set when it was executed, gone when it was given or anything else is
 * executed or the thread ended. */
void guard_table_set_new(u32 tid, bool is_new_runtime);
NODISCARD bool guard_table_take_new(u32 tid);
/* The same image, found to be the runtime once more after its text was sealed. */
void guard_table_set_sealed(u32 tid, bool is_sealed_runtime);
NODISCARD bool guard_table_take_sealed(u32 tid);

#endif
