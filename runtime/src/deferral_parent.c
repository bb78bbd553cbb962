/* The parent's side: may this fork be deferred, what must be there for it, and how long to wait. */
#include "deferral.h"

#include <linux/futex.h>
#include <linux/mman.h>
#include <linux/resource.h>
#include <linux/sched.h>

#include "fork_copy.h"
#include "opening.h"
#include "process.h"
#include "secret.h"
#include "state.h"
#include "window.h"

struct context {
    u64 registers[8];
};
long rt_save(struct context *context) __attribute__((returns_twice));
__attribute__((noreturn)) void rt_resume(struct context *context);
__attribute__((noreturn)) void rt_switch_stack(void *stack_top, void (*fn)(void *), void *arg);

enum {
    SPLIT_STACK = 64 << 10, LIKELY_MOST = 512, FORGET = 32, MONOTONIC = 1,
    PATIENCE_PIECE = 16 << 20, WAIT_LEAST = 20, WAIT_PER_PIECE = 20, WAIT_MOST = 400, /* ms: about half of what copying takes */
    FAULTS_MOST = 128, LIVED = 3, TRY_AGAIN = 4, /* a fault is some 60 us: copying all is cheaper from some number on */
    RINGING = 0x3ffffffe, PATH_ONLY = 010000000, DESCRIPTORS_KEPT = 16,
};

static const u64 ms = 1000 * 1000, a_second = 1000 * 1000 * 1000;
static struct deferral *own;
static u64 likely[LIKELY_MOST], likely_count, forks, lived; /* how many children lived on, one after the other */
static bool cannot;

const u64 *deferral_likely(u64 *count) {
    *count = likely_count;
    return likely;
}

static u64 block_size(void) { return page_up(sizeof(struct deferral)) + DEFERRAL_STACK + DEFERRAL_POOL * PAGE; }

static struct robust_word *create_bell(void) {
    long at = SYS6(__NR_mmap, 0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return failed(at) ? NULL : ptr_of((u64)at);
}

static bool create(void) {
    long at = secret_map(0, block_size(), PROT_READ | PROT_WRITE, 0);
    if (failed(at)) return false;
    own = ptr_of((u64)at);
    own->stack_top = (u64)at + page_up(sizeof(struct deferral)) + DEFERRAL_STACK;
    own->pool = own->stack_top;
    own->bell = create_bell();
    if (own->bell) return true;
    deferral_forget();
    return false;
}

void deferral_forget(void) {
    if (!own) return;
    if (!own->used_up && own->bell) SYS2(__NR_munmap, own->bell, PAGE);
    SYS2(__NR_munmap, own, block_size());
    own = NULL;
}

/* The parent's only thread will wait, so nobody changes what the child reads. The kernel is asked, not /proc, which root can cover:
 * this unshare(2) changes nothing, and works only where no other thread or process uses this memory. */
static bool is_only_one(void) { return SYS1(__NR_unshare, CLONE_VM) == 0; }

/* Both sides may need a descriptor for their copies later. */
static bool has_descriptors(void) {
    u64 limit[2] = {0, 0};
    long fd = SYS2(__NR_open, "/", PATH_ONLY | CLOSE_ON_EXEC);
    if (failed(fd)) return false;
    SYS1(__NR_close, fd);
    SYS2(__NR_getrlimit, RLIMIT_NOFILE, limit);
    return (u64)fd + DESCRIPTORS_KEPT < limit[0];
}

static bool is_on_signal_stack(const struct trap_frame *frame) {
    u64 start = addr_of(frame->stack.pointer);
    return frame->rsp >= start && frame->rsp - start < frame->stack.size;
}

static const u64 plain_flags = 0xff | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;

/* Where opens are watched or files injected, more calls are the runtime's than deferral_calls.c knows. */
static bool may_defer(const struct call *call, u64 flags) {
    bool new_stack = call->number != __NR_fork && call->arg[1];
    if (cannot || flags & ~plain_flags || new_stack || opening_is_watched() || state.files_watched) return false;
    return !is_on_signal_stack(call->frame) && is_only_one() && has_descriptors();
}

struct deferral *deferral_prepare(const struct call *call, u64 flags) {
    forks++;
    if (lived >= LIVED && forks % TRY_AGAIN) return NULL; /* this one is likely to live too */
    if (!may_defer(call, flags)) return NULL;
    if (own && own->used_up) deferral_forget();
    if (!own && !create()) return NULL;
    own->phase = DEFERRAL_RUNNING;
    own->owner.word = own->bell->word = 0;
    own->pool_taken = own->faults = 0;
    own->faults_most = FAULTS_MOST;
    own->busy = own->segv_sent = own->wrote_much = false;
    own->robust_head = own->robust_size = 0;
    own->frame = NULL;
    return own;
}

void deferral_ring(struct deferral *deferral) {
    __atomic_store_n(&deferral->bell->word, RINGING, __ATOMIC_SEQ_CST);
    SYS3(__NR_futex, &deferral->bell->word, FUTEX_WAKE, 1);
}

static u64 now(void) {
    u64 time[2] = {0, 0};
    SYS2(__NR_clock_gettime, MONOTONIC, time);
    return time[0] * a_second + time[1];
}

static u64 patience(void) {
    return min_u64(WAIT_LEAST + extents_bytes() / PATIENCE_PIECE * WAIT_PER_PIECE, WAIT_MOST) * ms;
}

struct split {
    struct context context;
    long error;
};

static void split_main(void *arg) {
    struct split *split = arg;
    long error = fork_copy_program_memory();
    split->error = error; /* on the caller's stack, which is a copy now */
    rt_resume(&split->context);
}

/* Copies all memory of this process, on a stack that is not the program's. */
static long copy_own_memory(void) {
    struct split split = {.error = 0};
    long stack = secret_map(0, SPLIT_STACK, PROT_READ | PROT_WRITE, 0);
    if (failed(stack)) return stack;
    if (!rt_save(&split.context)) rt_switch_stack(ptr_of((u64)stack + SPLIT_STACK), split_main, &split);
    SYS2(__NR_munmap, stack, SPLIT_STACK);
    if (!failed(split.error)) process_own_runtime_state();
    return split.error;
}

/* False if the child is at it already, or there is no memory now. */
static bool split_from(struct deferral *deferral) {
    u32 expected = DEFERRAL_RUNNING;
    if (!__atomic_compare_exchange_n(&deferral->phase, &expected, DEFERRAL_SPLITTING, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) return false;
    bool done = !failed(copy_own_memory());
    __atomic_store_n(&deferral->phase, done ? DEFERRAL_DONE : DEFERRAL_RUNNING, __ATOMIC_SEQ_CST);
    return done;
}

static bool has_gone(const struct deferral *deferral) {
    return __atomic_load_n(&deferral->owner.word, __ATOMIC_SEQ_CST) & FUTEX_OWNER_DIED;
}

static u32 phase_of(const struct deferral *deferral) { return __atomic_load_n(&deferral->phase, __ATOMIC_SEQ_CST); }

static void sleep_until(struct deferral *deferral, u32 seen, u64 deadline) {
    u64 left = deadline > now() ? deadline - now() : 0;
    const u64 time[2] = {left / a_second, left % a_second};
    SYS4(__NR_futex, &deferral->bell->word, FUTEX_WAIT, seen, time);
}

/* Keeps the list sorted. */
static void learn_page(u64 page) {
    u64 at = likely_count;
    if (at == LIKELY_MOST) return;
    while (at > 0 && likely[at - 1] > page) at--;
    if (at > 0 && likely[at - 1] == page) return;
    for (u64 i = likely_count++; i > at; i--) likely[i] = likely[i - 1];
    likely[at] = page;
}

/* When the list is full those are forgotten that the child did not change: what it left stands in the pool. */
static void learn(const struct deferral *deferral, bool forget) {
    if (forget) likely_count = 0;
    for (u64 i = 0; i < deferral->pool_taken; i++) {
        u64 page = deferral->touched[i];
        if (!page) continue; /* the child is at it just now */
        if (!forget || memcmp(ptr_of(page), ptr_of(deferral->pool + i * PAGE), PAGE) != 0) learn_page(page);
    }
}

/* Until the child has gone, or nobody shares memory any more. */
bool deferral_await(struct deferral *deferral) {
    u64 deadline = now() + patience();
    for (;;) {
        u32 seen = __atomic_load_n(&deferral->bell->word, __ATOMIC_SEQ_CST), phase = phase_of(deferral);
        if (has_gone(deferral)) {
            bool forget = likely_count == LIKELY_MOST && forks % FORGET == 0;
            if (deferral->faults || forget) learn(deferral, forget);
            lived = 0;
            return true;
        }
        if (phase == DEFERRAL_DONE || phase == DEFERRAL_FAILED) break;
        if (now() >= deadline) {
            if (split_from(deferral)) break;
            deadline = now() + WAIT_MOST * ms;
        }
        sleep_until(deferral, seen, deadline);
    }
    if (deferral->faults) learn(deferral, false); /* the next one may get through */
    lived = deferral->wrote_much && likely_count < LIKELY_MOST ? 0 : lived + 1;
    bool was = phase_of(deferral) != DEFERRAL_FAILED;
    cannot = deferral->no_dispatch;
    deferral_forget();
    return was;
}
