#include "together.h"

#include "second.h"

enum { STACK = 4 << 10, SET_MASK = 2 };

static bool is_allowed;

void together_allow(bool allowed) { is_allowed = allowed; }

static void do_pieces(struct work *work) {
    for (;;) {
        u64 index = __atomic_fetch_add(&work->next, 1, __ATOMIC_ACQ_REL);
        if (index >= work->count) return;
        work->piece(work, index);
    }
}

static void second_main(void *work) {
    do_pieces(work);
    SYS1(__NR_exit, 0);
}

/* Signals are blocked, so that none is handled, or stops a thread, on the small stack. */
static void with_second(struct work *work) {
    u64 all = ~0UL, before;
    struct second second = {0};
    SYS4(__NR_rt_sigprocmask, SET_MASK, &all, &before, 8);
    if (second_start(&second, STACK, second_main, work)) {
        do_pieces(work);
        second_await(&second);
    }
    SYS4(__NR_rt_sigprocmask, SET_MASK, &before, 0, 8);
}

void together(struct work *work) {
    if (is_allowed && work->count > 1 && has_two_processors()) with_second(work);
    do_pieces(work);
}
