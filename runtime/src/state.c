#include "state.h"

#include "call.h"
#include "deferral.h"

enum { BLOCK, UNBLOCK, SET_MASK, WAIT_PRIVATE = 128, WAKE_PRIVATE = 129 };

struct state state AFTER_SMALL("b") __attribute__((aligned(PAGE)));
static u32 lock_word; /* 0 free, 1 held, 2 held and waited for */
static u64 turns;     /* how often it was taken */

static void take(void) {
    u32 expected = 0;
    if (!__atomic_compare_exchange_n(&lock_word, &expected, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        while (__atomic_exchange_n(&lock_word, 2, __ATOMIC_ACQUIRE)) SYS4(__NR_futex, &lock_word, WAIT_PRIVATE, 2, 0);
    __atomic_store_n(&turns, turns + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE); /* before whatever is changed */
}

void lock_take(struct lock_guard *guard, bool signals_are_blocked) {
    guard->blocked = !signals_are_blocked;
    u64 all = deferral_now() ? ~SEGV_BIT : ~0UL; /* there the runtime faults where it writes */
    if (!guard->blocked) all = SIGSYS_BIT;
    SYS4(__NR_rt_sigprocmask, guard->blocked ? SET_MASK : BLOCK, &all, &guard->signals, 8);
    take();
}

void lock_take_quiet(struct lock_guard *guard) {
    guard->blocked = false;
    guard->signals = SIGSYS_BIT;
    take();
}

void lock_give(struct lock_guard *guard) {
    if (__atomic_exchange_n(&lock_word, 0, __ATOMIC_RELEASE) == 2) SYS3(__NR_futex, &lock_word, WAKE_PRIVATE, 1);
    const u64 recall = SIGSYS_BIT;
    if (guard->blocked) SYS4(__NR_rt_sigprocmask, SET_MASK, &guard->signals, 0, 8);
    else if (!(guard->signals & recall)) SYS4(__NR_rt_sigprocmask, UNBLOCK, &recall, 0, 8);
}

bool lock_watch(u64 *turn) {
    *turn = __atomic_load_n(&turns, __ATOMIC_ACQUIRE);
    return !__atomic_load_n(&lock_word, __ATOMIC_ACQUIRE);
}

/* Intel promises nothing of when string instructions read, but that this waits for them. */
bool lock_was_free(u64 turn) {
    __asm__ volatile("lfence" ::: "memory");
    return __atomic_load_n(&turns, __ATOMIC_RELAXED) == turn;
}

/* The forking thread held the lock; in the child nobody else exists. */
void lock_reset_in_child(void) { lock_word = 1; }
