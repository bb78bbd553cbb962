/* How much memory that nothing stands in is kept for what comes next. Its pages are the system's loss; but getting secret pages
 * anew costs 10 to 20 times what ordinary ones cost, so a program that frees and allocates in turn must not pay for it each time.
 *
 * A 4th of what is in use is kept, or 8 MiB and a 16th if that is less. More is kept of what a program is seen to need again:
 * twice within a minute, soon after so much was given back, new memory was asked for. That wears off when it has not been needed for some time. */
#ifndef CLOISTER_IDLE_H
#define CLOISTER_IDLE_H

#include "rt.h"

enum { IDLE_USUAL = 8 << 20, IDLE_SMALL = 4, IDLE_PART = 16, IDLE_MOST = 512 << 20, IDLE_PERIOD = 2000, IDLE_FORGOTTEN = 60000 /* ms */ };
/* Soon: a quarter of a second and the time that it takes to fill what was given back, some 16 us a page; of the processor's time,
 * for on a busy machine all takes longer, and within four times that by the clock, for who sleeps does not need its memory. */
enum { IDLE_SOON = 250, IDLE_FILL = 1 << 18 /* bytes in a ms */, IDLE_PATIENCE = 4 };

/* Milliseconds. */
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
