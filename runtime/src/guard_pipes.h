/* What guard 1 keeps of each sealed pipe (shield/pipe.h): how many records were written, which were read. Any process of the tree may write
 * or read next, and each may be killed; root may take records out of the kernel's pipe, put them in again and exchange them.
 *
 * A writer takes numbers first and writes then, so records of writers that run at once may stand in either order. What must not happen is
 * told apart by `least`: numbers below it belong to records that were in the pipe before this one's number was given. */
#ifndef CLOISTER_GUARD_PIPES_H
#define CLOISTER_GUARD_PIPES_H

#include "rt.h"

enum { PIPES_MOST = 1024, PIPE_NUMBERS = 16 /* at once */ };

struct pipe_numbers {
    u64 first, count, least;
    bool crowded; /* many write here: say when these are written (guard_pipes_sent) */
};

/* So many records from `first` on; `from` bytes of the first were read before; of the last are read now `to` bytes in all, 0: all of it. */
struct pipe_claim {
    u64 first, count, least, from, to;
};

/* Each answers 0 or: -ESTALE no such pipe is known (any more). `id` is drawn, never 0. */
NODISCARD long guard_pipes_new(u64 id);
/* At most `count` numbers, for a thread whose earlier records of this pipe are all written. -EAGAIN: too many write at once, or were killed
 * doing so, and nobody reads. */
NODISCARD long guard_pipes_send(u64 id, u32 tid, struct pipe_numbers *numbers);
long guard_pipes_sent(u64 id, u32 tid);
/* Of its numbers these were not written; not `sure`: they may have been, or come yet. */
NODISCARD long guard_pipes_unsent(u64 id, u32 tid, const struct pipe_numbers *numbers, bool sure);
/* -EALREADY: read before. -EAGAIN: `from` is another, which is told. -EBADMSG: something that was written before is missing. */
NODISCARD long guard_pipes_take(u64 id, struct pipe_claim *claim);
/* The pipe is empty and nobody will write: -EBADMSG if that cannot be. */
NODISCARD long guard_pipes_end(u64 id);
/* How many records wait, and how much of the next was read. */
NODISCARD long guard_pipes_look(u64 id, u64 *count, u64 *from);
/* A thread has ended. Who ended by itself had written what it took numbers for. */
void guard_pipes_ended(u32 tid, bool killed);

#endif
