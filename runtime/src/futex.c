/* Shared futexes. The kernel keys them by page, which it cannot get at in secret memory (EFAULT); private ones are keyed by
 * address and work. glibc waits for a thread's end with a shared futex, and pshared mutexes and semaphores use them. */
#include <linux/futex.h>

#include "areas.h"
#include "call.h"
#include "state.h"

enum { WORDS = 1024 };

/* For memory that processes share: a counter in ordinary shared memory stands for the futex, chosen by address (which is the
 * same in all of them, for they are forks of one another). A wake bumps it, so a waiter that looked before cannot sleep
 * through; two addresses on one word cost spurious wake-ups, which every caller must expect anyway (futex(2)). */
static u32 *shared_word(u64 address) { return &state.shared_words[(address >> 2) % WORDS]; }

static void wait_shared(struct call *call) {
    u64 a[6];
    memcpy(a, call->arg, sizeof a);
    u32 *word = shared_word(a[0]);
    u32 seen = __atomic_load_n(word, __ATOMIC_SEQ_CST);
    if (__atomic_load_n((u32 *)ptr_of(a[0]), __ATOMIC_SEQ_CST) != (u32)a[2]) {
        call->frame->rax = (u64)(long)-EAGAIN;
        return;
    }
    a[0] = addr_of(word);
    a[2] = seen;
    a[5] = FUTEX_BITSET_MATCH_ANY;
    call_replay(call, a, -1, NULL, 0);
}

static long wake_shared(u64 address, u64 most) {
    u32 *word = shared_word(address);
    __atomic_add_fetch(word, 1, __ATOMIC_SEQ_CST);
    long woken = SYS3(__NR_futex, word, FUTEX_WAKE, 0x7fffffff);
    return woken > (long)most ? (long)most : woken;
}

static void shared_call(struct call *call) {
    switch ((int)call->arg[1] & FUTEX_CMD_MASK) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET: wait_shared(call); return;
    case FUTEX_WAKE:
    case FUTEX_WAKE_BITSET:
    case FUTEX_REQUEUE: /* waking more than asked for is allowed, moving waiters is an optimisation */
    case FUTEX_CMP_REQUEUE: call->frame->rax = (u64)wake_shared(call->arg[0], call->arg[2] & 0x7fffffff); return;
    default: call->frame->rax = (u64)(long)-ENOSYS;
    }
}

static int kind_at(u64 address) {
    struct lock_guard lock;
    lock_take(&lock, true);
    const struct area *area = areas_find(address);
    int kind = area ? area->kind : 0;
    lock_give(&lock);
    return kind;
}

void futex_call(struct call *call) {
    int kind = kind_at(call->arg[0]);
    if (kind == AREA_SHARED_SECRET) {
        shared_call(call);
        return;
    }
    u64 a[6];
    memcpy(a, call->arg, sizeof a);
    if (kind == AREA_SECRET) a[1] |= FUTEX_PRIVATE_FLAG;
    call_replay(call, a, -1, NULL, 0);
}
