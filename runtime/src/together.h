/* Work in pieces, by two threads where that is possible: only while a program is started, when this process has one thread and stands
 * under no filter of its own. */
#ifndef CLOISTER_TOGETHER_H
#define CLOISTER_TOGETHER_H

#include "rt.h"

struct work {
    void (*piece)(struct work *work, u64 index); /* by either thread; pieces have nothing to do with one another */
    u64 count, next;                             /* next: 0 at first */
};

/* When it returns, all pieces are done and the calling thread is the only one again. */
void together(struct work *work);
void together_allow(bool allowed);

#endif
