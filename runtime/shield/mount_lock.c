/* The family's lock, which survives its holder's end. Its word stands in secret memory, where nobody else writes. The kernel knows it by
 * the thread's robust list (get_robust_list(2)): if the thread ends with the lock held, by SIGKILL or because another thread of the
 * process executes, the kernel marks the word, in whatever pid namespace the thread lives. Waiting goes by an ordinary page that all
 * have in common, for futexes on secret memory fail between processes: what stands there only wakes, and nobody waits long. */
#include <linux/futex.h>

#include "mount_arena.h"
#include "state.h"

enum { SPINS = 20, LONG = SPINS + 3, WORDS = PAGE / sizeof(u32), A_WHILE = 5 * 1000 * 1000 /* nanoseconds */ };

/* For threads that have no list of their own. The lock of `state` is held, so one is enough. */
static struct robust_head own_head;

static struct robust_head *robust_head(void) {
    u64 head = 1, size = 1; /* written to before the kernel does */
    __asm__ volatile("" : "+m"(head), "+m"(size));
    if (!failed(SYS3(__NR_get_robust_list, 0, &head, &size)) && head) return ptr_of(head);
    own_head = (struct robust_head){.next = (struct robust_word *)&own_head};
    SYS2(__NR_set_robust_list, &own_head, sizeof own_head);
    return &own_head;
}

/* The program is inside this call, so what its libc may have put there is about nothing that goes on now. */
static void announce(struct mount *mount) {
    mount->head = robust_head();
    mount->pending_before = mount->head->pending;
    mount->head->pending = ptr_of(addr_of(&mount->arena->lock) - (u64)mount->head->offset);
    __asm__ volatile("" ::: "memory");
}

static void take_back(const struct mount *mount) {
    __asm__ volatile("" ::: "memory");
    mount->head->pending = mount->pending_before;
}

static u32 *bell_of(const struct arena *arena) { return &state.shared_words[(addr_of(arena) / PAGE) % WORDS]; }

/* What the word was: FUTEX_OWNER_DIED, or 0. */
static bool try(struct arena *arena, u32 me, u32 *was) {
    *was = __atomic_load_n(&arena->lock, __ATOMIC_RELAXED);
    if (*was && !(*was & FUTEX_OWNER_DIED)) return false;
    return __atomic_compare_exchange_n(&arena->lock, was, me, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

u64 arena_waits;

static void wait(struct arena *arena) {
    const u64 a_while[2] = {0, A_WHILE};
    u32 *bell = bell_of(arena), rung = __atomic_load_n(bell, __ATOMIC_SEQ_CST);
    __atomic_store_n(&arena->waiting, 1, __ATOMIC_SEQ_CST);
    u32 holder = __atomic_load_n(&arena->lock, __ATOMIC_SEQ_CST);
    arena_waits++;
    if (holder && !(holder & FUTEX_OWNER_DIED)) SYS4(__NR_futex, bell, FUTEX_WAIT, rung, a_while);
}

/* Whoever has just had it and comes again lets the one go first that has waited long. It may have ended, so not for long. */
static void let_hungry_go(struct arena *arena, u32 me) {
    u32 other = __atomic_load_n(&arena->hungry, __ATOMIC_RELAXED);
    if (!other || other == me) return;
    const u64 a_while[2] = {0, A_WHILE};
    u32 *bell = bell_of(arena), rung = __atomic_load_n(bell, __ATOMIC_SEQ_CST);
    __atomic_store_n(&arena->waiting, 1, __ATOMIC_SEQ_CST);
    arena_waits++;
    SYS4(__NR_futex, bell, FUTEX_WAIT, rung, a_while);
    __atomic_compare_exchange_n(&arena->hungry, &other, 0, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

static void be_hungry(struct arena *arena, u32 me) {
    u32 nobody = 0;
    __atomic_compare_exchange_n(&arena->hungry, &nobody, me, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

void mount_before_fork(void) {
    for (u32 i = 0; i < MOUNTS_MOST; i++)
        if (mounts_of_process[i].arena) mounts_of_process[i].arena->forked = true;
}

bool arena_lock(struct mount *mount) {
    struct arena *arena = mount->arena;
    mount->alone = !arena->forked;
    if (mount->alone) return arena->broken; /* the lock of `state`, which the caller has, keeps out whoever else there is */
    u32 me = (u32)SYS0(__NR_gettid), was;
    let_hungry_go(arena, me);
    announce(mount);
    for (u32 i = 0; !try(arena, me, &was); i++) {
        if (i < SPINS) SYS0(__NR_sched_yield);
        else wait(arena);
        if (i == LONG) be_hungry(arena, me);
    }
    if (arena->hungry == me) arena->hungry = 0;
    if (was) arena->broken = true;
    return arena->broken;
}

void arena_unlock(struct mount *mount) {
    struct arena *arena = mount->arena;
    if (mount->alone) return;
    __atomic_store_n(&arena->lock, 0, __ATOMIC_SEQ_CST);
    take_back(mount);
    if (!__atomic_exchange_n(&arena->waiting, 0, __ATOMIC_SEQ_CST)) return;
    u32 *bell = bell_of(arena);
    __atomic_add_fetch(bell, 1, __ATOMIC_SEQ_CST);
    SYS3(__NR_futex, bell, FUTEX_WAKE, 0x7fffffff);
}
