/* Who does what, in order:
 *
 *   program   middle    guard 1    guard 2
 *     clone ----->
 *     .         clone ----->                  middle ends at once, so the guards are nobody's children here
 *     allow guard 1 to trace, say "go" -->
 *     .                  own memory, clone -->
 *     .                  attach to 2 <------> attach to 1
 *     .                  seize program
 *     <----------------- "held"
 *     runs                answers stops, until no traced process is left
 *
 * PTRACE_O_EXITKILL: when a guard dies, the kernel kills what it traces: the other guard and every process of the program.
 * All signals are blocked in the guards: a SIGCHLD stop of one while it waits for the other would deadlock them. */
#include "guard.h"

#include <asm/stat.h>
#include <linux/close_range.h>
#include <linux/prctl.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/wait.h>

#include "bytes.h"
#include "fail.h"
#include "guard_key.h"
#include "guard_table.h"
#include "process.h"
#include "secret.h"
#include "state.h"

long rt_clone_on(u64 flags, void *stack_top, int *parent_tid, void (*child)(void *), void *arg);
__attribute__((noreturn)) void rt_switch_stack(void *stack_top, void (*fn)(void *), void *arg);

enum {
    STACK_SIZE = 32 << 10,
    CHILD_SIGNAL = 17, NO_SIGNAL = 0x4000 /* MSG_NOSIGNAL */,
    STOP_SIGNAL = 19, STOP_PATIENCE = 10000, /* waits of some 70 microseconds */
    TRACE_FAMILY = PTRACE_O_EXITKILL | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC |
                   PTRACE_O_TRACESECCOMP,
};

/* Told to the program by guard 1. */
enum verdict { HELD = 1, PROGRAM_IS_TRACED, GUARD_IS_TRACED };

static u8 middle_stack[STACK_SIZE] __attribute__((aligned(16)));
static u8 first_stack[STACK_SIZE] __attribute__((aligned(16)));

struct guard {
    int channel; /* to the program, and between the guards */
    long program, first, second;
    u64 kernel_stack;
};

/* Without SIGPIPE: that the other side is gone is noticed when it is heard. */
static void say(int channel, u32 word) { SYS6(__NR_sendto, channel, &word, sizeof word, NO_SIGNAL, 0, 0); }

static u32 hear(int channel) {
    u32 word = 0;
    while (SYS3(__NR_read, channel, &word, sizeof word) == -EINTR) continue;
    return word; /* 0 if the other side is gone */
}

static __attribute__((noreturn)) void end(void) {
    SYS1(__NR_exit_group, 0);
    __builtin_unreachable();
}

static void allow_tracer(long pid) { SYS2(__NR_prctl, PR_SET_PTRACER, pid); }

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
        SYS2(__NR_nanosleep, moment, 0);
    }
    if (failed(stopped) || !has_stopped(status)) return false;
    bool kept = !failed(SYS4(__NR_ptrace, PTRACE_SETOPTIONS, pid, 0, PTRACE_O_EXITKILL));
    go_on(pid, PTRACE_CONT, 0);
    return kept;
}

/* Nothing else stays open: a pipe must see its end when the program closes it, and a channel when the other side dies. */
static void close_all_but(int channel) {
    if (channel) SYS3(__NR_close_range, 0, channel - 1, 0);
    SYS3(__NR_close_range, channel + 1, ~0U, 0);
}

static void leave_the_world(const struct guard *guard) {
    SYS0(__NR_setsid);
    SYS1(__NR_chdir, "/");
    close_all_but(guard->channel);
    SYS2(__NR_prctl, PR_SET_NAME, CLOISTER_COMM_GUARD);
    process_drop_stack(guard->kernel_stack);
}

/* A guard that root stops goes on: the stop signal is not delivered. */
static void answer_guard_stop(long tid) { go_on(tid, PTRACE_CONT, 0); }

static void note_new_thread(long tid) {
    u64 new_tid = 0;
    SYS4(__NR_ptrace, PTRACE_GETEVENTMSG, tid, 0, &new_tid);
    guard_table_announced((u32)new_tid);
}

/* The thread that executed takes over the leader's id; its former id is gone without a word. */
static void note_exec(long tid) {
    u64 former = 0;
    SYS4(__NR_ptrace, PTRACE_GETEVENTMSG, tid, 0, &former);
    if ((long)former != tid) guard_table_ended((u32)former);
    guard_key_executed(tid);
}

static void answer_stop(long tid, int status) {
    int signal = (status >> 8) & 0xff, event = status >> 16;
    guard_table_seen((u32)tid);
    switch (event) {
    case 0: go_on(tid, PTRACE_CONT, (u64)signal); return;
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
    while (guard_table_live()) {
        int status = 0;
        long tid = SYS4(__NR_wait4, -1, &status, __WALL, 0);
        if (failed(tid)) break;
        if (tid == guard->second) {
            if (!has_stopped(status)) break; /* the other guard was killed */
            answer_guard_stop(tid);
        } else if (has_stopped(status)) answer_stop(tid, status);
        else guard_table_ended((u32)tid);
    }
    end();
}

static void second_main(void *arg) {
    const struct guard guard = *(struct guard *)arg; /* stands on guard 1's stack, for now */
    process_own_runtime_state();
    wipe(state.handoff_key, sizeof state.handoff_key); /* guard 1 gives it */
    close_all_but(guard.channel);
    bool held = hear(guard.channel) == HELD && attach(guard.first);
    say(guard.channel, held ? HELD : GUARD_IS_TRACED);
    if (hear(guard.channel) != HELD) end();
    process_forbid_core_dumps();
    SYS1(__NR_close, guard.channel);
    for (;;) {
        int status = 0;
        long tid = SYS4(__NR_wait4, -1, &status, __WALL, 0);
        if (failed(tid) || !has_stopped(status)) end();
        answer_guard_stop(tid);
    }
}

/* Guard 2 is a clone of guard 1 with its own memory; they talk over a socket pair until both hold each other. */
static bool start_second(struct guard *guard) {
    int pair[2];
    long stack = secret_map(0, STACK_SIZE, 3, 0);
    if (failed(stack) || failed(SYS4(__NR_socketpair, 1, 1, 0, pair))) return false;
    struct guard second = *guard;
    second.channel = pair[1];
    second.first = SYS0(__NR_getpid);
    guard->second = rt_clone_on(CHILD_SIGNAL, ptr_of((u64)stack + STACK_SIZE), NULL, second_main, &second);
    if (failed(guard->second)) return false;
    allow_tracer(guard->second);
    SYS1(__NR_close, pair[1]);
    say(pair[0], HELD);
    bool held = hear(pair[0]) == HELD && attach(guard->second);
    if (held) say(pair[0], HELD);
    SYS1(__NR_close, pair[0]);
    return held;
}

/* Runs on a stack of guard 1's own. */
static void first_on_own_stack(void *arg) {
    struct guard guard = *(struct guard *)arg;
    process_own_runtime_state();
    leave_the_world(&guard);
    if (hear(guard.channel) != HELD) end();
    if (!start_second(&guard)) {
        say(guard.channel, GUARD_IS_TRACED);
        end();
    }
    bool held = seize(guard.program, TRACE_FAMILY);
    say(guard.channel, held ? HELD : PROGRAM_IS_TRACED);
    if (!held) end();
    SYS1(__NR_close, guard.channel);
    process_forbid_core_dumps();
    watch_program(&guard);
}

static void first_main(void *arg) {
    long stack = secret_map(0, STACK_SIZE, 3, 0);
    if (failed(stack)) end();
    rt_switch_stack(ptr_of((u64)stack + STACK_SIZE), first_on_own_stack, arg);
}

static void middle_main(void *arg) {
    struct guard *guard = arg;
    guard->first = rt_clone_on(CHILD_SIGNAL, first_stack + STACK_SIZE, NULL, first_main, guard);
    end();
}

/* As pid 1, or as the reaper of its descendants, the program would inherit the guards and wait for them in vain, as they for it.
 * Then guard 1 is its child from the start, with an end signal of none: wait(2) does not see such children (__WCLONE). */
static bool inherits_orphans(void) {
    int reaper = 0;
    SYS2(__NR_prctl, PR_GET_CHILD_SUBREAPER, &reaper);
    return reaper || SYS0(__NR_getpid) == 1;
}

static void start_first(struct guard *guard) {
    int status;
    if (inherits_orphans()) {
        guard->first = rt_clone_on(0, first_stack + STACK_SIZE, NULL, first_main, guard);
        return;
    }
    long middle = rt_clone_on(CHILD_SIGNAL, middle_stack + STACK_SIZE, NULL, middle_main, guard);
    require(middle, "the guards could not be started");
    while (SYS4(__NR_wait4, middle, &status, __WALL, 0) == -EINTR) continue;
}

static __attribute__((noreturn)) void refuse(u32 verdict) {
    if (verdict == PROGRAM_IS_TRACED)
        fail(CLOISTER_EXIT_CANNOT_PROTECT, "another process already traces this one, so its memory cannot be guarded", 0,
             "end the debugger or tracer, or start the program outside it");
    fail(CLOISTER_EXIT_CANNOT_PROTECT, "ptrace is denied, or a tracer holds the guards, so the program cannot be guarded", 0,
         "start it outside strace or a debugger; in a container: --cap-add SYS_PTRACE; on the host: sysctl kernel.yama.ptrace_scope=1");
}

void guard_start(u64 kernel_stack) {
    SYS2(__NR_prctl, PR_SET_DUMPABLE, 1); /* else seizing takes CAP_SYS_PTRACE; given up again when the guards hold */
    static struct guard guard; /* shared with the middle process, which reports guard 1's pid in it */
    int pair[2];
    u64 all = ~0UL, before;
    require(SYS4(__NR_socketpair, 1, 1, 0, pair), "no socket pair for the guards");
    guard = (struct guard){.channel = pair[1], .program = SYS0(__NR_getpid), .kernel_stack = kernel_stack};
    SYS4(__NR_rt_sigprocmask, 2, &all, &before, 8);
    start_first(&guard);
    SYS1(__NR_close, pair[1]);
    require(guard.first, "the guards could not be started");
    allow_tracer(guard.first);
    say(pair[0], HELD);
    u32 verdict = hear(pair[0]);
    SYS1(__NR_close, pair[0]);
    SYS4(__NR_rt_sigprocmask, 2, &before, 0, 8);
    if (verdict != HELD) refuse(verdict);
}

static long tracer_pid(void) {
    char status[1024];
    static const char field[] = "\nTracerPid:\t";
    long fd = SYS3(__NR_open, "/proc/self/status", READ_ONLY | CLOSE_ON_EXEC, 0), pid = 0;
    long n = failed(fd) ? 0 : SYS3(__NR_read, fd, status, sizeof status - 1);
    SYS1(__NR_close, fd);
    status[n > 0 ? n : 0] = 0;
    for (const char *at = status; *at; at++) {
        if (!starts_with(at, field)) continue;
        for (at += sizeof field - 1; *at >= '0' && *at <= '9'; at++) pid = pid * 10 + (*at - '0');
        break;
    }
    return pid;
}

/* A guard runs this very file. Where that cannot be looked up (other pid namespace, no /proc, root given up) it is believed:
 * this process descends from an enclave, whose processes only a guard can trace. */
static bool is_guard(long pid) {
    struct stat tracer, own;
    char link[40];
    size_t at = append(link, 0, sizeof link, "/proc/");
    at = append_number(link, at, sizeof link, (u64)pid);
    append(link, at, sizeof link, "/exe");
    if (failed(SYS2(__NR_stat, link, &tracer)) || failed(SYS2(__NR_stat, "/proc/self/exe", &own))) return true;
    return tracer.st_dev == own.st_dev && tracer.st_ino == own.st_ino;
}

void guard_require(void) {
    long tracer = tracer_pid();
    if (tracer && !is_guard(tracer)) refuse(PROGRAM_IS_TRACED);
    if (tracer || SYS1(__NR_ptrace, PTRACE_TRACEME) == -EPERM) return; /* ptrace(2): EPERM if it is traced already */
    fail(CLOISTER_EXIT_CANNOT_PROTECT, "this process should be guarded, but nothing traces it", 0, NULL);
}
