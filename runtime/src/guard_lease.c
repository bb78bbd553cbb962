#include "guard_lease.h"

#include "call.h"
#include "guard_families.h"
#include "guard_signals.h"
#include "guard_words.h"

enum {
    ROW = 8, ROW_MOST = 1024, /* questions of one family before it gets the lease: more where it was recalled soon */
    SOON = 20,                /* ms */
    REPEAT = 16,              /* refusals until another thread is called: this one may be stopped, or wait for a child */
    COARSE = 6,               /* CLOCK_MONOTONIC_COARSE */
};

static struct {
    u32 number, slots, thread;
    u16 holder;
    bool wanted;
    u32 refusals;
    u64 since;
} lease;

static u32 last_number, row, needed;
static u16 row_family;

/* ---- calling it back */

bool guard_lease_is_holders(u32 tid) { return lease.holder && guard_families_of(tid) == lease.holder; }
bool guard_lease_is_wanted(void) { return lease.wanted; }

/* To the process: whichever of its threads can takes it. */
static void call_back(void) {
    const struct signal_info info = {.signal = SIGSYS_NUMBER, .code = GUARD_RECALL};
    if (lease.refusals || !guard_lease_is_holders(lease.thread)) lease.thread = guard_families_next(lease.holder, lease.thread);
    if (lease.thread) SYS3(__NR_rt_sigqueueinfo, lease.thread, SIGSYS_NUMBER, &info);
}

static void recall(void) {
    lease.wanted = true;
    if (lease.refusals % REPEAT == 0) call_back();
    lease.refusals++;
}

/* ---- who has it */

static u64 now(void) {
    u64 time[2] = {0, 0};
    SYS2(__NR_clock_gettime, COARSE, time);
    return time[0] * 1000 + time[1] / 1000000;
}

static void end_lease(void) {
    if (lease.wanted) needed = now() - lease.since < SOON ? (u32)min_u64(2UL * needed, ROW_MOST) : ROW;
    memset(&lease, 0, sizeof lease);
}

static void forget_the_dead(void) {
    if (lease.holder && !guard_families_lives(lease.holder)) end_lease();
}

static void count_row(u16 family) {
    if (family != row_family || !family) row = 0;
    row_family = family;
    row++;
}

bool guard_lease_lets(u32 tid, u32 slot, u32 number) {
    count_row(guard_families_of(tid));
    forget_the_dead();
    if (!(lease.slots >> slot & 1)) return true;
    if (number == lease.number || guard_lease_is_holders(tid)) {
        if (guard_lease_is_holders(tid)) lease.thread = tid;
        return true;
    }
    recall();
    return false;
}

static bool has_earned(u16 family) {
    needed = needed ? needed : ROW;
    return family && row >= needed && guard_families_stay(family);
}

u32 guard_lease_of(u32 tid, u32 slot, bool wanted) {
    u16 family = guard_families_of(tid);
    if (wanted && !(lease.slots >> slot & 1) && has_earned(family)) {
        if (lease.holder && lease.holder != family) recall();
        else {
            if (!lease.holder) lease.number = last_number = last_number % GUARD_LEASES + 1, lease.since = now();
            lease.holder = family;
            lease.thread = tid;
            lease.slots |= 1U << slot;
        }
    }
    return lease.slots >> slot & 1 ? lease.number : 0;
}

void guard_lease_returned(u32 slot) {
    lease.slots &= ~(1U << slot);
    if (!lease.slots) end_lease();
}
