/* How much memory that nothing stands in is kept for what comes next. Its pages are the system's loss; but getting secret pages
 * anew costs 10 to 20 times what ordinary ones cost, so a program that frees and allocates in turn must not pay for it each time.
 *
 * A few MiB are kept always, and a small part of what is in use. More is kept of what a program is seen to need again: soon after
 * giving memory back it asked for new. That wears off when it has not needed it for some time. */
#ifndef CLOISTER_IDLE_H
#define CLOISTER_IDLE_H

#include "rt.h"

enum { IDLE_LEAST = 8 << 20, IDLE_PART = 16, IDLE_MOST = 512 << 20, IDLE_REGRET = 250, IDLE_PATIENCE = 1000, IDLE_PERIOD = 2000 /* ms */ };

/* Milliseconds. On a busy machine everything takes longer, so what "soon" means is told by the processor's time; but who sleeps
 * does not need its memory. */
struct moment {
    u64 clock, processor;
};

u64 idle_bytes(void);
u64 idle_limit(u64 used);        /* how much may be idle beside so many bytes in use */
void idle_add(u64 size);         /* so much is idle from now on */
void idle_remove(u64 size);      /* in use again, or given back */
void idle_gave_back(u64 size, struct moment now);
void idle_took_new(u64 size, struct moment now);
void idle_review(u64 clock);     /* lets the allowance wear off */

#endif
