/* Who does what, in order:
 *
 *   program   middle    guard 1    guard 2
 *     clone ----->
 *     .         clone ----->                  middle ends at once, so the guards are nobody's children here
 *     allow guard 1 to trace, say "go" -->
 *     loads                own memory, clone -->
 *     public               attach to 2 <------> attach to 1
 *     files                seize program
 *     <----------------- "held"
 *     takes its secrets    answers stops, until no traced process is left
 *
 * PTRACE_O_EXITKILL: when a guard dies, the kernel kills what it traces: the other guard and every process of the program.
 * All signals are blocked in the guards: a SIGCHLD stop of one while it waits for the other would deadlock them. */
#include "guard.h"

#include <asm/stat.h>
#include <linux/prctl.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/wait.h>

#include "fail.h"
#include "guard_pair.h"
#include "state.h"

long rt_clone_on(u64 flags, void *stack_top, int *parent_tid, void (*child)(void *), void *arg);

enum { CHILD_SIGNAL = 17, CLONE_STACK = 768 };

/* Of the middle process, and of guard 1 until it has its own. */
static u8 middle_stack[CLONE_STACK] __attribute__((aligned(16)));
static u8 first_stack[CLONE_STACK] __attribute__((aligned(16)));
static struct guard guard; /* shared with the middle process, which reports guard 1's pid in it */
static int channel;        /* to guard 1 */

static void first_main(void *arg) { guard_first_main(arg); }

static void middle_main(void *arg) {
    (void)arg;
    guard.first = rt_clone_on(CHILD_SIGNAL, first_stack + CLONE_STACK, NULL, first_main, &guard);
    end();
}

/* As pid 1, or as the reaper of its descendants, the program would inherit the guards and wait for them in vain, as they for it.
 * Then guard 1 is its child from the start, with an end signal of none: wait(2) does not see such children (__WCLONE). */
static bool inherits_orphans(void) {
    int reaper = 0;
    SYS2(__NR_prctl, PR_GET_CHILD_SUBREAPER, &reaper);
    return reaper || SYS0(__NR_getpid) == 1;
}

/* The middle process needs no memory of its own: this one waits until it is gone (CLONE_VFORK). */
static void start_first(void) {
    int status;
    if (inherits_orphans()) {
        guard.first = rt_clone_on(0, first_stack + CLONE_STACK, NULL, first_main, &guard);
        return;
    }
    long middle = rt_clone_on(CLONE_VM | CLONE_VFORK | CHILD_SIGNAL, middle_stack + CLONE_STACK, NULL, middle_main, NULL);
    require(middle, "the guards could not be started");
    while (SYS4(__NR_wait4, middle, &status, __WALL, 0) == -EINTR) continue;
}

static __attribute__((noreturn)) void refuse(u32 verdict) {
    if (verdict == NO_SECRET_MEMORY) fail_secret_memory(-ENOMEM);
    if (verdict == PROGRAM_IS_TRACED)
        fail(CLOISTER_EXIT_CANNOT_PROTECT, "another process already traces this one, so its memory cannot be guarded", 0,
             "end the debugger or tracer, or start the program outside it");
    fail(CLOISTER_EXIT_CANNOT_PROTECT, "ptrace is denied, or a tracer holds the guards, so the program cannot be guarded", 0,
         "start it outside strace or a debugger; in a container: --cap-add SYS_PTRACE; on the host: sysctl kernel.yama.ptrace_scope=1");
}

void guard_begin(u64 kernel_stack) {
    int pair[2];
    u64 all = ~0UL, before;
    SYS2(__NR_prctl, PR_SET_DUMPABLE, 1); /* else seizing takes CAP_SYS_PTRACE; given up again when the guards hold */
    require(SYS4(__NR_socketpair, 1, 1, 0, pair), "no socket pair for the guards");
    guard = (struct guard){.channel = pair[1], .console = state.console_fd, .program = SYS0(__NR_getpid), .kernel_stack = kernel_stack};
    SYS4(__NR_rt_sigprocmask, 2, &all, &before, 8);
    start_first();
    SYS4(__NR_rt_sigprocmask, 2, &before, 0, 8);
    SYS1(__NR_close, pair[1]);
    require(guard.first, "the guards could not be started");
    allow_tracer(guard.first);
    channel = pair[0];
    say(channel, HELD);
}

void guard_await(void) {
    u32 verdict = hear(channel);
    SYS1(__NR_close, channel);
    if (verdict != HELD) refuse(verdict);
    if (!is_alone()) refuse(PROGRAM_IS_TRACED);
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
