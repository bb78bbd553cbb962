#include "guard_table.h"

enum { TID_LIMIT = 1 << 22, BITS = 64 }; /* PID_MAX_LIMIT of 64-bit kernels (linux/threads.h) */

/* unannounced: seen, its creator's report is still to come. ended_early: ended, its creator's report is still to come. */
static u64 live[TID_LIMIT / BITS], unannounced[TID_LIMIT / BITS], ended_early[TID_LIMIT / BITS];
static u64 new_runtime[TID_LIMIT / BITS], sealed_runtime[TID_LIMIT / BITS];
static u64 live_count;

static bool has(const u64 *set, u32 tid) { return set[tid / BITS] >> (tid % BITS) & 1; }
static void add(u64 *set, u32 tid) { set[tid / BITS] |= 1UL << (tid % BITS); }
static void take(u64 *set, u32 tid) { set[tid / BITS] &= ~(1UL << (tid % BITS)); }

static void enter(u32 tid) {
    add(live, tid);
    live_count++;
}

void guard_table_seen(u32 tid) {
    if (tid >= TID_LIMIT || has(live, tid)) return;
    enter(tid);
    add(unannounced, tid);
    take(ended_early, tid); /* left over from a thread whose creator was killed before it could report */
}

void guard_table_announced(u32 tid) {
    if (tid >= TID_LIMIT) return;
    if (has(ended_early, tid)) take(ended_early, tid);
    else if (has(live, tid)) take(unannounced, tid);
    else enter(tid);
}

void guard_table_ended(u32 tid) {
    if (tid >= TID_LIMIT) return;
    guard_table_set_new(tid, false);
    guard_table_set_sealed(tid, false);
    if (!has(live, tid) || has(unannounced, tid)) add(ended_early, tid);
    if (!has(live, tid)) return;
    take(live, tid);
    take(unannounced, tid);
    live_count--;
}

bool guard_table_live(void) { return live_count > 0; }

static void set_to(u64 *set, u32 tid, bool member) {
    if (tid >= TID_LIMIT) return;
    if (member) add(set, tid);
    else if (has(set, tid)) take(set, tid); /* most pages of the table never come into being */
}

static bool take_from(u64 *set, u32 tid) {
    bool was = tid < TID_LIMIT && has(set, tid);
    set_to(set, tid, false);
    return was;
}

void guard_table_set_new(u32 tid, bool is_new_runtime) { set_to(new_runtime, tid, is_new_runtime); }
bool guard_table_take_new(u32 tid) { return take_from(new_runtime, tid); }
void guard_table_set_sealed(u32 tid, bool is_sealed_runtime) { set_to(sealed_runtime, tid, is_sealed_runtime); }
bool guard_table_take_sealed(u32 tid) { return take_from(sealed_runtime, tid); }
