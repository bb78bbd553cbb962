/* The guards' side: how they come to hold the program and each other, and what they do then. */
#include "guard_pair.h"

#include <linux/close_range.h>
#include <linux/prctl.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/wait.h>

#include "bytes.h"
#include "guard_console.h"
#include "guard_families.h"
#include "guard_key.h"
#include "guard_pipes.h"
#include "guard_signals.h"
#include "guard_table.h"
#include "process.h"
#include "state.h"

long rt_clone_on(u64 flags, void *stack_top, int *parent_tid, void (*child)(void *), void *arg);
__attribute__((noreturn)) void rt_switch_stack(void *stack_top, void (*fn)(void *), void *arg);

enum {
    STACK_SIZE = 32 << 10, /* of each guard */
    CHILD_SIGNAL = 17, NO_SIGNAL = 0x4000 /* MSG_NOSIGNAL */,
    STOP_SIGNAL = 19, STOP_PATIENCE = 10000, /* waits of some 70 microseconds */
    EAGER_WAITS = 50, /* before these: whoever is to stop is on its way, and sleeping takes longer */
    TRACE_FAMILY = PTRACE_O_EXITKILL | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC |
                   PTRACE_O_TRACESECCOMP,
};

/* Without SIGPIPE: that the other side is gone is noticed when it is heard. */
void say(int channel, u32 word) { SYS6(__NR_sendto, channel, &word, sizeof word, NO_SIGNAL, 0, 0); }

u32 hear(int channel) {
    u32 word = 0;
    while (SYS3(__NR_read, channel, &word, sizeof word) == -EINTR) continue;
    return word; /* 0 if the other side is gone */
}

void end(void) {
    SYS1(__NR_exit_group, 0);
    __builtin_unreachable();
}

void allow_tracer(long pid) { SYS2(__NR_prctl, PR_SET_PTRACER, pid); }

/* Whether nobody else runs in this memory. A debugger that came and went before the guards held could have left a thread or a process
 * here, of which it is the tracer still. unshare(2) with CLONE_VM changes nothing; it fails with EINVAL where memory is shared. */
bool is_alone(void) { return SYS1(__NR_unshare, CLONE_VM) != -EINVAL; }

static bool seize(long pid, u64 options) { return !failed(SYS4(__NR_ptrace, PTRACE_SEIZE, pid, 0, options)); }

static void go_on(long tid, long request, u64 signal) { SYS4(__NR_ptrace, request, tid, 0, signal); }

static bool has_stopped(int status) { return (status & 0xff) == 0x7f; }

/* How the guards hold each other. Not by PTRACE_SEIZE: then SIGCONT, which whoever ends a group of processes sends to them all,
 * stops its tracee, and two guards that are stopped wait for each other for ever. Here it does nothing, for it is blocked. The
 * stop that attaching makes is lost if a SIGCONT comes at the same moment, and asked for again. */
static bool attach(long pid) {
    const u64 moment[2] = {0, 20000};
    int status = 0;
    long stopped = SYS4(__NR_ptrace, PTRACE_ATTACH, pid, 0, 0);
    for (u32 waited = 1; !failed(stopped) && (stopped = SYS4(__NR_wait4, pid, &status, __WALL | WNOHANG, 0)) == 0; waited++) {
        if (waited % STOP_PATIENCE == 0) SYS2(__NR_kill, pid, STOP_SIGNAL);
        if (waited < EAGER_WAITS) SYS0(__NR_sched_yield);
        else SYS2(__NR_nanosleep, moment, 0);
    }
    if (failed(stopped) || !has_stopped(status)) return false;
    bool kept = !failed(SYS4(__NR_ptrace, PTRACE_SETOPTIONS, pid, 0, PTRACE_O_EXITKILL));
    go_on(pid, PTRACE_CONT, 0);
    return kept;
}

/* Nothing else stays open: a pipe must see its end when the program closes it, and a channel when the other side dies. `console` is
 * another one to keep, or -1. */
static void close_all_but(int channel, int console) {
    int low = console >= 0 && console < channel ? console : channel, high = console > channel ? console : channel;
    if (low) SYS3(__NR_close_range, 0, low - 1, 0);
    if (high > low + 1) SYS3(__NR_close_range, low + 1, high - 1, 0);
    SYS3(__NR_close_range, high + 1, ~0U, 0);
}

static void leave_the_world(const struct guard *guard) {
    SYS0(__NR_setsid);
    SYS1(__NR_chdir, "/");
    close_all_but(guard->channel, guard->console);
    SYS2(__NR_prctl, PR_SET_NAME, CLOISTER_COMM_GUARD);
    process_drop_stack(guard->kernel_stack);
}

/* A guard that root stops goes on: the stop signal is not delivered. */
static void answer_guard_stop(long tid) { go_on(tid, PTRACE_CONT, 0); }

static void note_new_thread(long tid) {
    u64 new_tid = 0;
    SYS4(__NR_ptrace, PTRACE_GETEVENTMSG, tid, 0, &new_tid);
    guard_table_announced((u32)new_tid);
    guard_families_joined((u32)new_tid, (u32)tid);
}

/* By a signal, for which it was not ready; `status` is wait(2)'s. */
static bool was_killed(int status) { return status & 0x7f; }

static void note_end(long tid, int status) {
    guard_table_ended((u32)tid);
    guard_families_ended((u32)tid);
    guard_pipes_ended((u32)tid, was_killed(status));
}

/* The thread that executed takes over the leader's id; its former id is gone without a word. */
static void note_exec(long tid) {
    u64 former = 0;
    SYS4(__NR_ptrace, PTRACE_GETEVENTMSG, tid, 0, &former);
    if ((long)former != tid) {
        guard_table_ended((u32)former);
        guard_pipes_ended((u32)tid, true);
    }
    guard_pipes_ended((u32)former, false);
    guard_families_executed((u32)tid, (u32)former);
    guard_key_executed(tid);
}

static void answer_stop(long tid, int status) {
    int signal = (status >> 8) & 0xff, event = status >> 16;
    guard_table_seen((u32)tid);
    switch (event) {
    case 0: go_on(tid, PTRACE_CONT, guard_signals_let(tid, (u64)signal)); return;
    case PTRACE_EVENT_STOP: go_on(tid, signal == 5 /* SIGTRAP */ ? PTRACE_CONT : PTRACE_LISTEN, 0); return;
    case PTRACE_EVENT_FORK:
    case PTRACE_EVENT_VFORK:
    case PTRACE_EVENT_CLONE: note_new_thread(tid); break;
    case PTRACE_EVENT_EXEC: note_exec(tid); break;
    case PTRACE_EVENT_SECCOMP: guard_key_asked(tid); break;
    }
    go_on(tid, PTRACE_CONT, 0);
}

static __attribute__((noreturn)) void watch_program(const struct guard *guard) {
    guard_table_announced((u32)guard->program);
    guard_families_began((u32)guard->program);
    while (guard_table_live()) {
        int status = 0;
        long tid = SYS4(__NR_wait4, -1, &status, __WALL, 0);
        if (failed(tid)) break;
        if (tid == guard->second) {
            if (!has_stopped(status)) break; /* the other guard was killed */
            answer_guard_stop(tid);
        } else if (has_stopped(status)) answer_stop(tid, status);
        else {
            note_end(tid, status);
            guard_console_lost(guard->console, (u32)tid);
            if (tid == guard->program) guard_console_ended(guard->console, status);
        }
    }
    guard_console_over(guard->console);
    end();
}

/* Nothing of the runtime's state is needed here, nor of guard 1's memory: it goes. */
static void second_main(void *arg) {
    const struct guard guard = *(struct guard *)arg; /* stands on guard 1's stack, for now */
    process_drop_state();
    SYS2(__NR_munmap, guard.memory + STACK_SIZE, STACK_SIZE + GUARD_TABLE_SIZE);
    close_all_but(guard.channel, -1);
    bool held = hear(guard.channel) == HELD && attach(guard.first);
    say(guard.channel, held ? HELD : GUARD_IS_TRACED);
    if (hear(guard.channel) != HELD || !is_alone()) end();
    process_forbid_core_dumps();
    SYS1(__NR_close, guard.channel);
    for (;;) {
        int status = 0;
        long tid = SYS4(__NR_wait4, -1, &status, __WALL, 0);
        if (failed(tid) || !has_stopped(status)) end();
        answer_guard_stop(tid);
    }
}

/* Guard 2 is a clone of guard 1 with a stack of its own; they talk over a socket pair until both hold each other. */
static bool start_second(struct guard *guard) {
    int pair[2];
    if (failed(SYS4(__NR_socketpair, 1, 1, 0, pair))) return false;
    struct guard second = *guard;
    second.channel = pair[1];
    second.first = SYS0(__NR_getpid);
    guard->second = rt_clone_on(CHILD_SIGNAL, ptr_of(guard->memory + STACK_SIZE), NULL, second_main, &second);
    if (failed(guard->second)) return false;
    allow_tracer(guard->second);
    SYS1(__NR_close, pair[1]);
    say(pair[0], HELD);
    bool held = hear(pair[0]) == HELD && attach(guard->second);
    if (held) say(pair[0], HELD);
    SYS1(__NR_close, pair[0]);
    return held;
}

/* Data of this guard's own, with what it must know of the program's in it (guard_key.c) and nothing else. */
static void take_own_memory(struct guard *guard) {
    u8 key[sizeof state.handoff_key];
    bool required = state.handoff_required;
    u64 vdso = state.vdso, vdso_size = state.vdso_size, data = guard->memory;
    memcpy(key, state.handoff_key, sizeof key);
    guard->memory = process_behind_state(data);
    process_take_state(data);
    memcpy(state.handoff_key, key, sizeof key);
    wipe(key, sizeof key);
    state.handoff_required = required;
    state.vdso = vdso;
    state.vdso_size = vdso_size;
    guard_table_use(ptr_of(guard->memory + 2 * STACK_SIZE));
}

/* Runs on a stack of guard 1's own. */
static void first_on_own_stack(void *arg) {
    struct guard guard = *(struct guard *)arg;
    take_own_memory(&guard);
    leave_the_world(&guard);
    if (hear(guard.channel) != HELD) end();
    if (!start_second(&guard)) {
        say(guard.channel, GUARD_IS_TRACED);
        end();
    }
    bool held = seize(guard.program, TRACE_FAMILY), alone = is_alone();
    say(guard.channel, !held ? PROGRAM_IS_TRACED : alone ? HELD : GUARD_IS_TRACED);
    if (!held || !alone) end();
    SYS1(__NR_close, guard.channel);
    process_forbid_core_dumps();
    watch_program(&guard);
}

/* One mapping for guard 1's data, the stacks of guard 2 and of guard 1, and the table. */
void guard_first_main(struct guard *guard) {
    long memory = process_map_state(2 * STACK_SIZE + GUARD_TABLE_SIZE);
    if (failed(memory)) {
        say(guard->channel, NO_SECRET_MEMORY);
        end();
    }
    guard->memory = (u64)memory;
    rt_switch_stack(ptr_of(process_behind_state((u64)memory) + 2 * STACK_SIZE), first_on_own_stack, guard);
}
