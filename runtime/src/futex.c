/* Shared futexes. The kernel keys them by page, which it cannot get at in secret memory (EFAULT); private ones are keyed by
 * address and work. glibc waits for a thread's end with a shared futex, and pshared mutexes and semaphores use them. */
#include <linux/futex.h>
#include <linux/mman.h>

#include "access.h"
#include "areas.h"
#include "call.h"
#include "state.h"

extern const char rt_replay_bounded[], rt_replay_shared[], rt_replay_shared_bounded[];

enum { WORDS = 1024, A_TENTH = 100 * 1000 * 1000, A_SECOND = 1000 * 1000 * 1000 };

/* For memory that processes share: a counter in ordinary shared memory stands for the futex, chosen by address (which is the
 * same in all of them, for they are forks of one another). A wake bumps it, so a waiter that looked before cannot sleep
 * through; two addresses on one word cost spurious wake-ups, which every caller must expect anyway (futex(2)). */
static u32 *shared_word(u64 address) { return &state.shared_words[(address >> 2) % WORDS]; }

struct moment { /* struct timespec */
    u64 seconds, nanoseconds;
};

static bool earlier(const struct moment *a, const struct moment *b) {
    return a->seconds != b->seconds ? a->seconds < b->seconds : a->nanoseconds < b->nanoseconds;
}

/* A tenth of a second, as this call counts time: FUTEX_WAIT from now on, FUTEX_WAIT_BITSET as a point in time. */
static struct moment soon(int operation) {
    struct moment when = {0, 0};
    if ((operation & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET)
        SYS2(__NR_clock_gettime, operation & FUTEX_CLOCK_REALTIME ? 0 : 1, &when);
    when.nanoseconds += A_TENTH;
    if (when.nanoseconds < A_SECOND) return when;
    return (struct moment){when.seconds + 1, when.nanoseconds - A_SECOND};
}

/* When the owner of a robust mutex dies, the kernel marks the word and wakes its waiters with a shared futex, which fails in
 * secret memory; so waiters look again ten times a second. To them it is a spurious wake-up, which futex(2) allows. */
static void replay_wait(struct call *call, u64 arg[6], const char *unbounded_gate, const char *bounded_gate) {
    const struct moment *limit = ptr_of(call->arg[3]);
    struct moment check = soon((int)call->arg[1]);
    bool bounded = !limit || earlier(&check, limit);
    call_replay(call, arg, bounded ? 3 : -1, &check, sizeof check);
    if (bounded || unbounded_gate) call->frame->rip = addr_of(bounded ? bounded_gate : unbounded_gate);
}

static bool is_wait(const struct call *call) {
    int command = (int)call->arg[1] & FUTEX_CMD_MASK;
    return command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET;
}

static void wait_shared(struct call *call) {
    u64 a[6];
    memcpy(a, call->arg, sizeof a);
    u32 *word = shared_word(a[0]);
    u32 seen = __atomic_load_n(word, __ATOMIC_SEQ_CST);
    if (!can_read(a[0], sizeof(u32))) {
        call->frame->rax = (u64)(long)-EFAULT;
        return;
    }
    if (__atomic_load_n((u32 *)ptr_of(a[0]), __ATOMIC_SEQ_CST) != (u32)a[2]) {
        call->frame->rax = (u64)(long)-EAGAIN;
        return;
    }
    a[0] = addr_of(word);
    a[2] = seen;
    a[5] = FUTEX_BITSET_MATCH_ANY;
    replay_wait(call, a, rt_replay_shared, rt_replay_shared_bounded);
}

static long wake_shared(u64 address, u64 most) {
    u32 *word = shared_word(address);
    __atomic_add_fetch(word, 1, __ATOMIC_SEQ_CST);
    long woken = SYS3(__NR_futex, word, FUTEX_WAKE, 0x7fffffff);
    return woken > (long)most ? (long)most : woken;
}

/* What the kernel refuses before it looks for waiters. */
static long shared_refusal(const struct call *call) {
    int command = (int)call->arg[1] & FUTEX_CMD_MASK;
    bool with_set = command == FUTEX_WAIT_BITSET || command == FUTEX_WAKE_BITSET;
    if (with_set && (u32)call->arg[5] == 0) return -EINVAL;
    if (command != FUTEX_CMP_REQUEUE) return 0;
    if (!can_read(call->arg[0], sizeof(u32))) return -EFAULT;
    return __atomic_load_n((u32 *)ptr_of(call->arg[0]), __ATOMIC_SEQ_CST) == (u32)call->arg[5] ? 0 : -EAGAIN;
}

static void shared_call(struct call *call) {
    long refusal = shared_refusal(call);
    if (refusal) {
        call->frame->rax = (u64)refusal;
        return;
    }
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

int memory_kind_at(u64 address) {
    struct lock_guard lock;
    lock_take(&lock, true);
    const struct area *area = areas_find(address);
    int kind = area ? area->kind : 0;
    /* A private page must be writable to hold a shared futex, and a shared one readable: else the kernel says what is wrong. */
    if (kind == AREA_SECRET && !(area->protection & PROT_WRITE)) kind = 0;
    if (kind == AREA_SHARED_SECRET && !area->protection) kind = 0;
    lock_give(&lock);
    return kind;
}

static bool has_two_words(const struct call *call) {
    int command = (int)call->arg[1] & FUTEX_CMD_MASK;
    return command == FUTEX_REQUEUE || command == FUTEX_CMP_REQUEUE || command == FUTEX_WAKE_OP;
}

/* The kernel looks at the time before anything else. */
static bool is_time_wrong(const struct call *call) {
    const struct moment *limit = ptr_of(call->arg[3]);
    if (!is_wait(call) || !limit) return false;
    return !can_read(call->arg[3], sizeof *limit) || limit->nanoseconds >= A_SECOND || limit->seconds >> 63;
}

void futex_call(struct call *call) {
    int kind = is_time_wrong(call) ? 0 : memory_kind_at(call->arg[0]);
    if (kind && has_two_words(call) && memory_kind_at(call->arg[4]) != kind) kind = 0;
    if (kind == AREA_SHARED_SECRET && call->arg[0] % sizeof(u32) == 0) {
        shared_call(call);
        return;
    }
    u64 a[6];
    memcpy(a, call->arg, sizeof a);
    if (kind == AREA_SECRET) a[1] |= FUTEX_PRIVATE_FLAG;
    if (kind == AREA_SECRET && is_wait(call)) replay_wait(call, a, NULL, rt_replay_bounded);
    else call_replay(call, a, -1, NULL, 0);
}
