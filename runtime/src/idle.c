#include "idle.h"

static u64 bytes;
static u64 allowance;         /* what this program has shown to need */
static u64 given;             /* given back lately, */
static struct moment given_at;
static u64 lowest, since;     /* the least that was idle in this period: nobody needed that */

u64 idle_bytes(void) { return bytes; }
u64 idle_limit(u64 used) { return max_u64(allowance, min_u64(used / IDLE_SMALL, IDLE_USUAL + used / IDLE_PART)); }
void idle_add(u64 size) { bytes += size; }

void idle_remove(u64 size) {
    bytes -= size;
    lowest = min_u64(lowest, bytes);
}

static bool is_soon(struct moment now) {
    u64 soon = IDLE_SOON + given / IDLE_FILL;
    return now.processor - given_at.processor < soon && now.clock - given_at.clock < IDLE_PATIENCE * soon;
}

void idle_gave_back(u64 size, struct moment now) {
    if (!is_soon(now)) given = 0;
    given += size;
    given_at = now;
}

/* The allowance grows by what was given back in vain. */
void idle_took_new(u64 size, struct moment now) {
    u64 regretted = is_soon(now) ? min_u64(size, given) : 0;
    given -= regretted;
    allowance = min_u64(allowance + regretted, IDLE_MOST);
}

void idle_review(u64 clock) {
    if (clock - since < IDLE_PERIOD) return;
    allowance -= min_u64(allowance, lowest);
    lowest = bytes;
    since = clock;
}
