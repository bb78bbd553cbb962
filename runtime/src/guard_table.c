#include "guard_table.h"

enum { TID_LIMIT = GUARD_TABLE_SIZE };

enum {
    LIVE = 1,
    UNANNOUNCED = 2, /* seen, its creator's report is still to come */
    ENDED_EARLY = 4, /* ended, its creator's report is still to come */
    NEW_RUNTIME = 8,
    SEALED_RUNTIME = 16,
};

static u8 *table; /* one byte for each thread id: those of one program are near one another, so few pages come into being */
static u64 live_count;

void guard_table_use(u8 *memory) { table = memory; }

static bool has(u32 tid, u8 flag) { return table[tid] & flag; }
static void add(u32 tid, u8 flag) { table[tid] |= flag; }
static void take(u32 tid, u8 flag) { table[tid] &= (u8)~flag; }

static void enter(u32 tid) {
    add(tid, LIVE);
    live_count++;
}

void guard_table_seen(u32 tid) {
    if (tid >= TID_LIMIT || has(tid, LIVE)) return;
    enter(tid);
    add(tid, UNANNOUNCED);
    take(tid, ENDED_EARLY); /* left over from a thread whose creator was killed before it could report */
}

void guard_table_announced(u32 tid) {
    if (tid >= TID_LIMIT) return;
    if (has(tid, ENDED_EARLY)) take(tid, ENDED_EARLY);
    else if (has(tid, LIVE)) take(tid, UNANNOUNCED);
    else enter(tid);
}

void guard_table_ended(u32 tid) {
    if (tid >= TID_LIMIT) return;
    take(tid, NEW_RUNTIME | SEALED_RUNTIME);
    if (!has(tid, LIVE) || has(tid, UNANNOUNCED)) add(tid, ENDED_EARLY);
    if (!has(tid, LIVE)) return;
    take(tid, LIVE | UNANNOUNCED);
    live_count--;
}

bool guard_table_live(void) { return live_count > 0; }
u64 guard_table_count(void) { return live_count; }
bool guard_table_lives(u32 tid) { return tid < TID_LIMIT && has(tid, LIVE); }

static void set_to(u32 tid, u8 flag, bool wanted) {
    if (tid >= TID_LIMIT) return;
    if (wanted) add(tid, flag);
    else take(tid, flag);
}

static bool take_from(u32 tid, u8 flag) {
    bool was = tid < TID_LIMIT && has(tid, flag);
    set_to(tid, flag, false);
    return was;
}

void guard_table_set_new(u32 tid, bool is_new_runtime) { set_to(tid, NEW_RUNTIME, is_new_runtime); }
bool guard_table_take_new(u32 tid) { return take_from(tid, NEW_RUNTIME); }
void guard_table_set_sealed(u32 tid, bool is_sealed_runtime) { set_to(tid, SEALED_RUNTIME, is_sealed_runtime); }
bool guard_table_take_sealed(u32 tid) { return take_from(tid, SEALED_RUNTIME); }
