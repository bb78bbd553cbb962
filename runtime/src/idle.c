#include "idle.h"

static u64 bytes;
static u64 allowance;         /* what this program has shown to need */
static u64 given, given_at;   /* given back lately */
static u64 lowest, since;     /* the least that was idle in this period: nobody needed that */

u64 idle_bytes(void) { return bytes; }
u64 idle_limit(u64 used) { return max_u64(allowance, IDLE_LEAST + used / IDLE_PART); }
void idle_add(u64 size) { bytes += size; }

void idle_remove(u64 size) {
    bytes -= size;
    lowest = min_u64(lowest, bytes);
}

void idle_gave_back(u64 size, u64 now) {
    if (now - given_at >= IDLE_REGRET) given = 0;
    given += size;
    given_at = now;
}

/* The allowance grows by what was given back in vain. */
void idle_took_new(u64 size, u64 now) {
    u64 regretted = now - given_at < IDLE_REGRET ? min_u64(size, given) : 0;
    given -= regretted;
    if (regretted) allowance = min_u64(max_u64(allowance, IDLE_LEAST) + regretted, IDLE_MOST);
}

void idle_review(u64 now) {
    if (now - since < IDLE_PERIOD) return;
    allowance -= min_u64(allowance, lowest);
    lowest = bytes;
    since = now;
}
