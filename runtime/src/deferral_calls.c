/* System calls of a deferred child's program. Done at once is what is quick, does not wait, and writes to known places; the filter lets
 * these calls through (filter_rules.h), so that nothing is done here that it would not allow. Everything else completes the child and
 * is made again by the program's own instruction. */
#include "deferral.h"

#include <asm/ioctls.h>
#include <asm/stat.h>
#include <linux/audit.h>
#include <linux/fcntl.h>
#include <linux/prctl.h>
#include <linux/resource.h>

#include "../shield/shield.h"
#include "access.h"
#include "state.h"

extern const char rt_call_directly[];

enum { RED_ZONE = 128, SYSCALL_SIZE = 2, ARCH_AT = 28 /* in siginfo_t */, NAME_SIZE = 390, TERMINAL_SIZE = 36, LIMIT_SIZE = 16, TIMES_SIZE = 32,
       USAGE_SIZE = 144, WINDOW_SIZE_SIZE = 8, RANDOM_MOST = 8192, PATH_MOST = 4096, ATOMIC_WRITE = 4096 /* PIPE_BUF */, NO_WAIT = 8 /* RWF_NOWAIT */,
       TYPE = 0170000, REGULAR = 0100000, DIRECTORY = 0040000, PIPE = 0010000, CHARACTER = 0020000, MEMORY_DEVICES = 1, TTOU = 22, DESCRIPTORS_KEPT = 8 };

static bool run(struct trap_frame *f) {
    f->rax = (u64)SYS6((u32)f->rax, f->rdi, f->rsi, f->rdx, f->r10, f->r8, f->r9);
    return true;
}

/* One that takes the lowest free descriptor. To complete a child takes one too, so it is done while there are some left. */
static bool run_descriptor(struct trap_frame *f) {
    u64 limit[2] = {0, 0};
    run(f);
    SYS2(__NR_getrlimit, RLIMIT_NOFILE, limit);
    deferral_now()->soon = (long)f->rax == -EMFILE || f->rax + DESCRIPTORS_KEPT >= limit[0];
    return true;
}

/* One that writes `size` bytes to `to`. */
static bool run_to(struct trap_frame *f, u64 to, u64 size) { return (!to || deferral_open(to, size)) && run(f); }

static bool is_memory_device(const struct stat *info) {
    return (info->st_mode & TYPE) == CHARACTER && info->st_rdev >> 8 == MEMORY_DEVICES;
}

static bool is_regular(const struct stat *info) { return (info->st_mode & TYPE) == REGULAR; }

/* Opening a pipe or a terminal may wait. */
static bool run_open(struct trap_frame *f, int directory, u64 path, u64 flags) {
    struct stat info;
    if (flags & O_DIRECT) return false;
    if (failed(SYS4(__NR_newfstatat, directory, path, &info, 0))) return run_descriptor(f);
    return (is_regular(&info) || (info.st_mode & TYPE) == DIRECTORY || is_memory_device(&info)) && run_descriptor(f);
}

static bool run_write_to_pipe(struct trap_frame *f) {
    const u64 piece[2] = {f->rsi, f->rdx};
    if (f->rdx > ATOMIC_WRITE) return false;
    long n = SYS6(__NR_pwritev2, f->rdi, piece, 1, -1, -1, NO_WAIT);
    if (n != (long)f->rdx && n != -EPIPE) return false;
    f->rax = (u64)n;
    return true;
}

/* A terminal may stop who writes to it; a full pipe waits. */
static bool run_write(struct trap_frame *f) {
    struct stat info;
    if (failed(SYS2(__NR_fstat, f->rdi, &info))) return run(f);
    if ((info.st_mode & TYPE) == PIPE) return run_write_to_pipe(f);
    return (is_regular(&info) || is_memory_device(&info)) && run(f);
}

static bool run_fcntl(struct trap_frame *f) {
    switch (f->rsi) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC: return run_descriptor(f);
    case F_GETFD:
    case F_SETFD:
    case F_GETFL:
    case F_SETFL: return run(f);
    default: return false;
    }
}

/* In the background, taking the terminal sends SIGTTOU unless that is blocked; in this handler all signals are. */
static bool run_ioctl(struct trap_frame *f) {
    switch (f->rsi) {
    case TCGETS: return run_to(f, f->rdx, TERMINAL_SIZE);
    case TIOCGPGRP: return run_to(f, f->rdx, sizeof(int));
    case TIOCGWINSZ: return run_to(f, f->rdx, WINDOW_SIZE_SIZE);
    case TIOCSPGRP: return f->signals >> (TTOU - 1) & 1 && run(f);
    default: return false;
    }
}

/* Kept for when the child is complete: now the kernel's list is the runtime's. */
static bool keep_robust_list(struct trap_frame *f) {
    struct deferral *deferral = deferral_now();
    if (f->rsi != sizeof(struct robust_head)) return run(f);
    deferral->robust_head = f->rdi;
    f->rax = 0;
    return true;
}

/* Robust mutexes that it holds must be marked by the kernel. */
static bool run_exit(struct trap_frame *f) {
    const u64 *head = ptr_of(deferral_now()->robust_head);
    bool holds = head && can_read(addr_of(head), sizeof *head) && *head != addr_of(head);
    return !holds && !state.checkpoint[0] && !state.report[0] && run(f);
}

/* New limits may leave no way to complete. */
static bool run_limit(struct trap_frame *f) { return !f->rdx && (u32)f->rsi != RLIMIT_AS && run_to(f, f->r10, LIMIT_SIZE); }

static bool run_small(struct trap_frame *f) {
    switch ((u32)f->rax) {
    case __NR_dup: return run_descriptor(f);
    case __NR_fcntl: return run_fcntl(f);
    case __NR_ioctl: return run_ioctl(f);
    case __NR_prctl: return (f->rdi == PR_SET_NAME || f->rdi == PR_SET_PDEATHSIG) && run(f);
    case __NR_close_range: return !(f->rdx & ~4UL /* CLOSE_RANGE_CLOEXEC */) && run(f);
    case __NR_set_robust_list: return keep_robust_list(f);
    case __NR_exit_group: return run_exit(f);
    case __NR_open: return run_open(f, AT_HERE, f->rdi, f->rsi);
    case __NR_openat: return run_open(f, (int)f->rdi, f->rsi, f->rdx);
    case __NR_write: return run_write(f);
    case __NR_stat:
    case __NR_lstat:
    case __NR_fstat: return run_to(f, f->rsi, sizeof(struct stat));
    case __NR_newfstatat: return run_to(f, f->rdx, sizeof(struct stat));
    case __NR_getcwd: return run_to(f, f->rdi, min_u64(f->rsi, PATH_MOST));
    case __NR_uname: return run_to(f, f->rdi, NAME_SIZE);
    case __NR_times: return run_to(f, f->rdi, TIMES_SIZE);
    case __NR_getrlimit: return (u32)f->rdi != RLIMIT_AS && run_to(f, f->rsi, LIMIT_SIZE); /* that one is the runtime's: limits.c */
    case __NR_prlimit64: return run_limit(f);
    case __NR_getrusage: return run_to(f, f->rsi, USAGE_SIZE);
    case __NR_getrandom: return f->rsi <= RANDOM_MOST && run_to(f, f->rdi, f->rsi);
    default: return false;
    }
}

static bool run_plain(struct trap_frame *f) {
    switch ((u32)f->rax) {
    case __NR_close:
    case __NR_dup2:
    case __NR_dup3:
    case __NR_lseek:
    case __NR_access:
    case __NR_faccessat:
    case __NR_faccessat2:
    case __NR_chdir:
    case __NR_fchdir:
    case __NR_umask:
    case __NR_setpgid:
    case __NR_getpgid:
    case __NR_getpgrp:
    case __NR_setsid:
    case __NR_getsid:
    case __NR_getpid:
    case __NR_getppid:
    case __NR_gettid:
    case __NR_getuid:
    case __NR_geteuid:
    case __NR_getgid:
    case __NR_getegid:
    case __NR_kill:
    case __NR_tgkill:
    case __NR_tkill:
    case __NR_sched_yield:
    case __NR_set_tid_address: return run(f);
    default: return run_small(f);
    }
}

/* What the runtime answers on the program's own stack, as from a patched site: `ret $128` of entry.S steps over the red zone. */
static bool answer_directly(struct trap_frame *f) {
    switch ((u32)f->rax) {
    case __NR_execve:
    case __NR_rt_sigaction:
    case __NR_rt_sigprocmask: break;
    default: return false;
    }
    u64 *back = ptr_of(f->rsp - RED_ZONE - sizeof *back);
    if (!deferral_open(addr_of(back), sizeof *back) || !can_write(addr_of(back), sizeof *back)) return false;
    *back = f->rip;
    f->rsp = addr_of(back);
    f->rip = addr_of(rt_call_directly);
    return true;
}

static bool is_64_bit(const void *info) { return *(const u32 *)((const u8 *)info + ARCH_AT) == AUDIT_ARCH_X86_64; }

void deferral_call(const void *info, struct trap_frame *frame) {
    struct deferral *deferral = deferral_now();
    deferral->busy = true;
    deferral->soon = false;
    const u64 arg[6] = {frame->rdi, frame->rsi, frame->rdx, frame->r10, frame->r8, frame->r9};
    bool shielded = shield_is_on() && shield_concerns((u32)frame->rax, arg);
    bool done = !shielded && is_64_bit(info) && (answer_directly(frame) || run_plain(frame));
    deferral->busy = false;
    if (!done) frame->rip -= SYSCALL_SIZE;
    if (!done || deferral->soon || deferral->segv_sent) deferral_complete(frame);
}
