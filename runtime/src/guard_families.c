#include "guard_families.h"

#include "guard_table.h"

enum { MEMBERS = 1 << 13, FAMILIES = 1 << 12, NONE = 0 };

/* One live thread. The table is hashed by thread id: open addressing, without gaps between a place and where its thread would like to
 * stand. */
struct member {
    u32 tid;
    u32 creator; /* as long as its family is not known: it was reported before its creator was */
    u16 family;
    u8 executing, leaving, stopping;
};

static struct member members[MEMBERS] BEHIND;
static u32 threads_of[FAMILIES] BEHIND;
static u32 member_count, family_count, executing_count, leaving_count, stopping_count, waiting_count, last_family;

static u32 home_of(u32 tid) { return tid * 0x9e3779b1U >> 19; }

static struct member *find(u32 tid) {
    u32 at = home_of(tid);
    while (members[at].tid && members[at].tid != tid) at = (at + 1) % MEMBERS;
    return &members[at];
}

/* Puts who stands behind it into the gap, as far as that is no nearer to home than before. */
static void close_gap(u32 gap) {
    for (u32 at = (gap + 1) % MEMBERS; members[at].tid; at = (at + 1) % MEMBERS) {
        u32 home = home_of(members[at].tid);
        if ((at - home) % MEMBERS < (at - gap) % MEMBERS) continue;
        members[gap] = members[at];
        gap = at;
    }
    members[gap] = (struct member){0};
}

static void join_family(struct member *member, u16 family) {
    member->family = family;
    if (threads_of[family]++ == 0) family_count++;
}

static void leave_family(u16 family) {
    if (--threads_of[family] == 0) family_count--;
}

/* What `creator` created and is not known to be of a family: now it is, or it waits for `next` instead. */
static void tell_waiting(u32 creator, u16 family, u32 next) {
    if (!waiting_count) return;
    for (u32 at = 0; at < MEMBERS; at++) {
        struct member *member = &members[at];
        if (!member->tid || member->family || member->creator != creator) continue;
        member->creator = next;
        if (!family) continue;
        waiting_count--;
        join_family(member, family);
        tell_waiting(member->tid, family, 0);
    }
}

static void take_out(u32 tid) {
    struct member *member = find(tid);
    if (!member->tid) return;
    if (member->family) leave_family(member->family);
    else {
        waiting_count--;
        tell_waiting(tid, NONE, member->creator);
    }
    executing_count -= member->executing;
    leaving_count -= member->leaving;
    stopping_count -= member->stopping;
    member_count--;
    close_gap((u32)(member - members));
}

static u16 new_family(void) {
    if (family_count == FAMILIES - 1) return NONE;
    do last_family = last_family % (FAMILIES - 1) + 1;
    while (threads_of[last_family]);
    return (u16)last_family;
}

/* Whoever finds no place counts as a family of its own: guard_families_alive. */
static void put_in(u32 tid, u16 family, u32 creator) {
    if (member_count >= MEMBERS - MEMBERS / 8 || !guard_table_lives(tid) || (!family && !creator)) return;
    struct member *member = find(tid);
    *member = (struct member){.tid = tid, .creator = creator};
    member_count++;
    if (family) join_family(member, family);
    else waiting_count++;
}

void guard_families_began(u32 tid) { put_in(tid, new_family(), 0); }

void guard_families_joined(u32 tid, u32 creator) {
    u16 family = find(creator)->family;
    if (!find(tid)->tid) put_in(tid, family, creator);
    tell_waiting(tid, family, creator);
}

void guard_families_executed(u32 tid, u32 former) {
    take_out(former);
    take_out(tid);
    put_in(tid, new_family(), 0);
}

void guard_families_ended(u32 tid) { take_out(tid); }

/* Asks who has not been announced yet, it gets a family of its own, which is one too many at most. */
void guard_families_executing(u32 tid, bool executing) {
    if (!find(tid)->tid) put_in(tid, new_family(), 0);
    struct member *member = find(tid);
    if (!member->tid || member->executing == executing) return;
    member->executing = executing;
    if (executing) executing_count++;
    else executing_count--;
}

u64 guard_families_alive(void) {
    bool unknown = waiting_count || member_count != guard_table_count();
    return family_count + executing_count + unknown;
}

u16 guard_families_of(u32 tid) { return find(tid)->family; }
bool guard_families_lives(u16 family) { return threads_of[family] > 0; }

u32 guard_families_next(u16 family, u32 after) {
    u32 at = after ? (u32)(find(after) - members) : 0;
    for (u32 i = 1; i <= MEMBERS; i++) {
        const struct member *member = &members[(at + i) % MEMBERS];
        if (member->tid && member->family == family) return member->tid;
    }
    return 0;
}

void guard_families_stopping(u32 tid, bool stopping) {
    struct member *member = find(tid);
    if (!member->tid || member->stopping == stopping) return;
    member->stopping = stopping;
    if (stopping) stopping_count++;
    else stopping_count--;
}

static bool goes(const struct member *member) { return member->executing || member->leaving || member->stopping; }

bool guard_families_goes(u32 tid) { return goes(find(tid)); }

bool guard_families_stay(u16 family) {
    bool any = executing_count || leaving_count || stopping_count;
    for (u32 at = 0; any && at < MEMBERS; at++)
        if (members[at].family == family && goes(&members[at])) return false;
    return true;
}

u64 guard_families_staying(u32 tid) {
    struct member *member = find(tid);
    u64 alive = guard_families_alive(), others = leaving_count - (member->tid ? member->leaving : 0U);
    if (member->tid && !member->leaving) {
        member->leaving = 1;
        leaving_count++;
    }
    return alive > others ? alive - others : 1;
}
