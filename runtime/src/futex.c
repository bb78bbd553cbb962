/* Shared futexes. The kernel keys them by page, which it cannot get at in secret memory (EFAULT); private ones are keyed by
 * address and work. glibc waits for a thread's end with a shared futex, and pshared mutexes and semaphores use them. */
#include <linux/futex.h>
#include <linux/mman.h>
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

/* A wait as it is made in the kernel. */
struct wait {
    u64 arg[6];
    struct moment check;
    bool bounded; /* until `check`, which the program did not ask for */
};

/* When the owner of a robust mutex dies, the kernel marks the word and wakes its waiters with a shared futex, which fails in
 * secret memory; so waiters look again ten times a second. To them it is a spurious wake-up, which futex(2) allows. */
static struct wait begin_wait(const struct call *call, const u64 arg[6]) {
    struct wait wait = {.check = soon((int)call->arg[1])};
    const struct moment *limit = ptr_of(call->arg[3]);
    memcpy(wait.arg, arg, sizeof wait.arg);
    wait.bounded = !limit || earlier(&wait.check, limit);
    return wait;
}

static bool is_wait(const struct call *call) {
    int command = (int)call->arg[1] & FUTEX_CMD_MASK;
    return command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET;
}

/* After the handler has returned, under the program's mask. */
static void replay_wait(struct call *call, struct wait *wait, const char *unbounded_gate, const char *bounded_gate) {
    call_replay(call, wait->arg, wait->bounded ? 3 : -1, &wait->check, sizeof wait->check);
    if (wait->bounded || unbounded_gate) call->frame->rip = addr_of(wait->bounded ? bounded_gate : unbounded_gate);
}

static long make(const u64 a[6]) { return SYS6(__NR_futex, a[0], a[1], a[2], a[3], a[4], a[5]); }

/* Now, from a patched site: there the program's mask is in force, and no lock is held. */
static long make_wait(struct wait *wait) {
    if (wait->bounded) wait->arg[3] = addr_of(&wait->check);
    long result = make(wait->arg);
    return wait->bounded && result == -ETIMEDOUT ? 0 : result;
}

/* 0 if the program's word is what it expects: then `arg` waits for the counter that stands for it. */
static long look_at_shared(const struct call *call, u64 arg[6]) {
    u32 *word = shared_word(call->arg[0]);
    u32 seen = __atomic_load_n(word, __ATOMIC_SEQ_CST);
    memcpy(arg, call->arg, 6 * sizeof *arg);
    if (!can_read(arg[0], sizeof(u32))) return -EFAULT;
    if (__atomic_load_n((u32 *)ptr_of(arg[0]), __ATOMIC_SEQ_CST) != (u32)arg[2]) return -EAGAIN;
    arg[0] = addr_of(word);
    arg[2] = seen;
    arg[5] = FUTEX_BITSET_MATCH_ANY;
    return 0;
}

/* Whether the kernel answers it, after the handler has returned; else it is answered already. */
static bool wait_shared(struct call *call, long *result) {
    u64 arg[6];
    *result = look_at_shared(call, arg);
    if (*result) return false;
    struct wait wait = begin_wait(call, arg);
    if (call->frame) {
        replay_wait(call, &wait, rt_replay_shared, rt_replay_shared_bounded);
        return true;
    }
    *result = make_wait(&wait);
    if (*result == -EAGAIN) *result = 0; /* somebody woke just now; not that the program's word differs */
    return false;
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

static bool shared_call(struct call *call, long *result) {
    *result = shared_refusal(call);
    if (*result) return false;
    switch ((int)call->arg[1] & FUTEX_CMD_MASK) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET: return wait_shared(call, result);
    case FUTEX_WAKE:
    case FUTEX_WAKE_BITSET:
    case FUTEX_REQUEUE: /* waking more than asked for is allowed, moving waiters is an optimisation */
    case FUTEX_CMP_REQUEUE: *result = wake_shared(call->arg[0], call->arg[2] & 0x7fffffff); return false;
    default: *result = -ENOSYS; return false;
    }
}

/* In secret memory of this process alone a futex is as good as private. */
static bool private_call(struct call *call, int kind, long *result) {
    u64 arg[6];
    memcpy(arg, call->arg, sizeof arg);
    if (kind == AREA_SECRET) arg[1] |= FUTEX_PRIVATE_FLAG;
    if (kind == AREA_SECRET && is_wait(call)) {
        struct wait wait = begin_wait(call, arg);
        if (call->frame) replay_wait(call, &wait, NULL, rt_replay_bounded);
        else *result = make_wait(&wait);
    } else if (call->frame) call_replay(call, arg, -1, NULL, 0);
    else *result = make(arg);
    return call->frame != NULL;
}

static int kind_at(u64 address, bool signals_are_blocked) {
    struct lock_guard lock;
    lock_take(&lock, signals_are_blocked);
    const struct area *area = areas_find(address);
    int kind = area ? area->kind : 0;
    /* A private page must be writable to hold a shared futex, and a shared one readable: else the kernel says what is wrong. */
    if (kind == AREA_SECRET && !(area->protection & PROT_WRITE)) kind = 0;
    if (kind == AREA_SHARED_SECRET && !area->protection) kind = 0;
    lock_give(&lock);
    return kind;
}

int memory_kind_at(u64 address) { return kind_at(address, true); }

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

long futex_call(struct call *call, bool *replayed) {
    long result = 0;
    bool signals_are_blocked = call->frame != NULL;
    int kind = is_time_wrong(call) ? 0 : kind_at(call->arg[0], signals_are_blocked);
    if (kind && has_two_words(call) && kind_at(call->arg[4], signals_are_blocked) != kind) kind = 0;
    bool later = kind == AREA_SHARED_SECRET && call->arg[0] % sizeof(u32) == 0 ? shared_call(call, &result)
                                                                               : private_call(call, kind, &result);
    if (replayed) *replayed = later;
    return result;
}
