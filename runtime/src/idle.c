#include "idle.h"

static u64 bytes;
static u64 allowance;         /* what this program has shown to need */
static u64 lowest, since;     /* the least that was idle in this period: nobody needed that */

/* Memory comes and goes in waves. What goes back for a moment while much more is asked for begins no new wave. */
static u64 given, wave;       /* given back lately and not asked for again; since memory was last asked for */
static u64 soon;              /* how long that matters, */
static struct moment given_at;
static u64 regretted, seen;   /* how much of it was asked for again: in this wave, in the one before */

u64 idle_bytes(void) { return bytes; }
u64 idle_limit(u64 used) { return max_u64(allowance, min_u64(used / IDLE_SMALL, IDLE_USUAL + used / IDLE_PART)); }
void idle_add(u64 size) { bytes += size; }

void idle_remove(u64 size) {
    bytes -= size;
    lowest = min_u64(lowest, bytes);
}

static bool is_soon(struct moment now) {
    return now.processor - given_at.processor < soon && now.clock - given_at.clock < IDLE_PATIENCE * soon;
}

void idle_gave_back(u64 size, struct moment now) {
    if (!is_soon(now)) given = 0;
    if (now.clock - given_at.clock >= IDLE_FORGOTTEN) seen = regretted = 0;
    wave += size;
    if (wave >= regretted / 2) {
        seen = max_u64(seen, regretted);
        regretted = 0;
    }
    given += size;
    given_at = now;
    soon = IDLE_SOON + given / IDLE_FILL;
}

void idle_took_new(u64 size, struct moment now) {
    u64 regret = is_soon(now) ? min_u64(size, given) : 0, again = min_u64(regret, seen);
    wave = 0;
    given -= regret;
    regretted += regret;
    seen -= again;
    allowance = min_u64(allowance + again, IDLE_MOST);
}

void idle_review(u64 clock) {
    if (clock - since < IDLE_PERIOD) return;
    allowance -= min_u64(allowance, lowest);
    lowest = bytes;
    since = clock;
}
