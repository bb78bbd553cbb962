#include "filter.h"

#include <linux/audit.h>
#include <linux/fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/sched.h>
#include <linux/seccomp.h>

#include "fail.h"

enum test {
    ALWAYS,   /* intercept */
    ANSWER,   /* do not make the call; the result is -value */
    IF_SET,   /* intercept if argument `arg` has any bit of `value` */
    UNLESS_SET,
    IF_POINTER, /* intercept if argument `arg` is not NULL */
    ANSWER_IF_EQUAL, /* argument `arg` == value: do not make the call unless it is the runtime's, the result is 0 */
    ASK_GUARD,       /* stop for the guard, which is told `value` */
    IF_FILE,         /* intercept if argument `arg` is a descriptor that an injected file may have */
};

struct rule {
    u16 number;
    u8 test, arg;
    u32 value;
};

/* Calls not listed go to the kernel; for those the kernel caches "allow" by number, so they cost almost nothing. Rules for one
 * number are tried in order, and the last one decides. */
static const struct rule rules[] = {
    /* Memory: what the program maps must be secret. */
    {__NR_mmap, ALWAYS, 0, 0},
    {__NR_mprotect, ALWAYS, 0, 0},
    {__NR_munmap, ALWAYS, 0, 0},
    {__NR_brk, ALWAYS, 0, 0},
    {__NR_mremap, ALWAYS, 0, 0},
    {__NR_madvise, ALWAYS, 0, 0},
    {__NR_msync, ALWAYS, 0, 0},
    {__NR_pkey_mprotect, ALWAYS, 0, 0},
    {__NR_shmat, ALWAYS, 0, 0}, /* counted: ordinary shared memory */
    /* Secret memory is locked for good and cannot be pinned, so these have nothing left to do. */
    {__NR_mlock, ANSWER, 0, 0},
    {__NR_mlock2, ANSWER, 0, 0},
    {__NR_munlock, ANSWER, 0, 0},
    {__NR_mlockall, ANSWER, 0, 0},
    {__NR_munlockall, ANSWER, 0, 0},
    {__NR_remap_file_pages, ANSWER, 0, ENOSYS},
    {__NR_userfaultfd, ANSWER, 0, ENOSYS},
    {453 /* map_shadow_stack */, ANSWER, 0, ENOSYS},
    {462 /* mseal */, ANSWER, 0, ENOSYS}, /* fork could not put copies over sealed mappings */
    {__NR_pkey_alloc, ANSWER, 0, ENOSPC}, /* programs then do without protection keys */
    /* Pages cannot be handed over, nor direct I/O reach them. */
    {__NR_vmsplice, ALWAYS, 0, 0},
    {__NR_open, IF_SET, 1, O_DIRECT & ~O_DIRECTORY},
    {__NR_openat, IF_SET, 2, O_DIRECT & ~O_DIRECTORY},
    /* Processes: children are enclaved too, with memory of their own. Threads and vfork share memory: the kernel's business. */
    {__NR_fork, ALWAYS, 0, 0},
    {__NR_clone, IF_SET, 0, CLONE_UNTRACED}, /* would escape the guard */
    {__NR_clone, UNLESS_SET, 0, CLONE_VM},
    {__NR_clone3, ANSWER, 0, ENOSYS}, /* its flags stand in memory, where a filter cannot see them; libc falls back to clone */
    {__NR_execve, ALWAYS, 0, 0},
    {__NR_execveat, ALWAYS, 0, 0},
    {__NR_exit, ALWAYS, 0, 0}, /* clears and wakes the tid word, which the kernel cannot in secret memory */
    {__NR_rseq, ANSWER, 0, ENOSYS}, /* the kernel writes its area after the thread's stack may be gone */
    /* Signals: SIGSYS is the runtime's. */
    {__NR_rt_sigaction, IF_POINTER, 1, 0},
    {__NR_rt_sigprocmask, IF_POINTER, 1, 0},
    {__NR_rt_sigsuspend, ALWAYS, 0, 0},
    {__NR_ppoll, IF_POINTER, 3, 0},
    {__NR_pselect6, IF_POINTER, 5, 0},
    {__NR_epoll_pwait, IF_POINTER, 4, 0},
    {__NR_epoll_pwait2, IF_POINTER, 4, 0},
    /* Shared futexes on secret memory fail in the kernel. */
    {__NR_futex, UNLESS_SET, 1, FUTEX_PRIVATE_FLAG},
    /* Names. */
    {__NR_readlink, ALWAYS, 0, 0},
    {__NR_readlinkat, ALWAYS, 0, 0},
    /* Protection that the program must not take back: core dumps hold registers, a named tracer could attach. */
    {__NR_prctl, ANSWER_IF_EQUAL, 0, PR_SET_DUMPABLE},
    {__NR_prctl, ANSWER_IF_EQUAL, 0, PR_SET_PTRACER},
    {CLOISTER_FILTER_PROBE_NR, ANSWER, 0, CLOISTER_FILTER_PROBE_BASE + CLOISTER_ABI_VERSION},
    {CLOISTER_FILTER_KEY_NR, ASK_GUARD, 0, CLOISTER_FILTER_KEY_NR},
};

static const struct rule exit_rule = {__NR_exit_group, ALWAYS, 0, 0};
static const struct rule identity_rules[] = {
    {__NR_setuid, ALWAYS, 0, 0},
    {__NR_setreuid, ALWAYS, 0, 0},
    {__NR_setresuid, ALWAYS, 0, 0},
};

/* Where files are injected, measured or learned: no way to a file that is not seen. */
static const struct rule opening_rules[] = {
    {__NR_open, ALWAYS, 0, 0},
    {__NR_openat, ALWAYS, 0, 0},
    {__NR_openat2, ALWAYS, 0, 0},
    {__NR_creat, ALWAYS, 0, 0},
    {__NR_open_by_handle_at, ANSWER, 0, EOPNOTSUPP},
    {__NR_io_uring_setup, ANSWER, 0, ENOSYS}, /* it opens and reads by itself; programs then do without */
    {__NR_personality, IF_SET, 0, 0x0400000 /* READ_IMPLIES_EXEC */},
};

/* Injected files: what names them, and what moves bytes or numbers of the descriptors that they have. */
static const struct rule file_rules[] = {
    {__NR_read, IF_FILE, 0, 0},
    {__NR_pread64, IF_FILE, 0, 0},
    {__NR_readv, IF_FILE, 0, 0},
    {__NR_preadv, IF_FILE, 0, 0},
    {__NR_preadv2, IF_FILE, 0, 0},
    {__NR_sendfile, IF_FILE, 1, 0},
    {__NR_splice, IF_FILE, 0, 0},
    {__NR_copy_file_range, IF_FILE, 0, 0},
    {__NR_dup, IF_FILE, 0, 0},
    {__NR_dup2, IF_FILE, 0, 0},
    {__NR_dup3, IF_FILE, 0, 0},
    {__NR_fcntl, IF_FILE, 0, 0},
    {__NR_fstat, IF_FILE, 0, 0},
    {__NR_stat, ALWAYS, 0, 0},
    {__NR_lstat, ALWAYS, 0, 0},
    {__NR_newfstatat, UNLESS_SET, 3, AT_EMPTY},
    {__NR_newfstatat, IF_FILE, 0, 0},
    {__NR_statx, UNLESS_SET, 2, AT_EMPTY},
    {__NR_statx, IF_FILE, 0, 0},
    {__NR_access, ALWAYS, 0, 0},
    {__NR_faccessat, ALWAYS, 0, 0},
    {__NR_faccessat2, ALWAYS, 0, 0},
    {__NR_getxattr, ALWAYS, 0, 0},
    {__NR_lgetxattr, ALWAYS, 0, 0},
    {__NR_listxattr, ALWAYS, 0, 0},
    {__NR_llistxattr, ALWAYS, 0, 0},
    {__NR_io_setup, ANSWER, 0, ENOSYS}, /* like io_uring_setup: it reads by itself */
};

/* A second filter, for a process that has an injected file at a number that any file may have (`program < file`). */
static const struct rule wide_rules[] = {
    {__NR_read, ALWAYS, 0, 0},
    {__NR_pread64, ALWAYS, 0, 0},
    {__NR_readv, ALWAYS, 0, 0},
    {__NR_preadv, ALWAYS, 0, 0},
    {__NR_preadv2, ALWAYS, 0, 0},
    {__NR_sendfile, ALWAYS, 0, 0},
    {__NR_splice, ALWAYS, 0, 0},
    {__NR_copy_file_range, ALWAYS, 0, 0},
    {__NR_fstat, ALWAYS, 0, 0},
    {__NR_newfstatat, IF_SET, 3, AT_EMPTY},
    {__NR_statx, IF_SET, 2, AT_EMPTY},
};

/* Like CLOISTER_FILTER_PROBE_NR: what a newly executed runtime cannot know otherwise, the filter tells it. */
enum {
    BASE_PROBE = CLOISTER_FILTER_KEY_NR + 1, WIDE_PROBE = BASE_PROBE + 1, TOLD = 1000, BASE_STEP = 16, BASE_MAX = 16384,
    BASE_ROOM = 128,
};

enum {
    PROGRAM_MAX = 1024, RULES = sizeof rules / sizeof rules[0],
    OPENING_RULES = sizeof opening_rules / sizeof opening_rules[0],
    FILE_RULES = sizeof file_rules / sizeof file_rules[0], WIDE_RULES = sizeof wide_rules / sizeof wide_rules[0],
};

static struct sock_filter program[PROGRAM_MAX];
static u16 length;
static u32 files_base;

static void emit(u16 code, u8 jump_true, u8 jump_false, u32 value) {
    program[length++] = (struct sock_filter){code, jump_true, jump_false, value};
}

static void load(u32 offset) { emit(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset); }
static void give(u32 verdict) { emit(BPF_RET | BPF_K, 0, 0, verdict); }
static void jump_if_equal(u32 value, u8 yes, u8 no) { emit(BPF_JMP | BPF_JEQ | BPF_K, yes, no, value); }
static void jump_if_any(u32 bits, u8 yes, u8 no) { emit(BPF_JMP | BPF_JSET | BPF_K, yes, no, bits); }

static u32 low_word_of(u8 arg) { return (u32)(offsetof(struct seccomp_data, args) + 8UL * arg); }

/* The gate's own calls are let through, all others get `verdict`. Gate addresses fit one upper word (linker script). */
static void emit_unless_gate(u32 verdict) {
    u64 start = addr_of(gate_start), stop = addr_of(gate_end);
    load(offsetof(struct seccomp_data, instruction_pointer) + 4);
    jump_if_equal((u32)(start >> 32), 0, 4);
    load(offsetof(struct seccomp_data, instruction_pointer));
    emit(BPF_JMP | BPF_JGE | BPF_K, 0, 2, (u32)start);
    emit(BPF_JMP | BPF_JGT | BPF_K, 1, 0, (u32)stop);
    give(SECCOMP_RET_ALLOW);
    give(verdict);
}

enum { INTERCEPT_SIZE = 7 };

static void emit_intercept(void) { emit_unless_gate(SECCOMP_RET_TRAP); }

static void emit_answer(u32 error) { give(SECCOMP_RET_ERRNO | error); }

/* What follows the test of the number. Each body ends in a verdict or falls through to the next rule with the number lost. */
static void emit_body(const struct rule *rule) {
    switch ((enum test)rule->test) {
    case ALWAYS: emit_intercept(); return;
    case ANSWER: emit_answer(rule->value); return;
    case IF_SET:
        load(low_word_of(rule->arg));
        jump_if_any(rule->value, 0, INTERCEPT_SIZE);
        emit_intercept();
        return;
    case UNLESS_SET:
        load(low_word_of(rule->arg));
        jump_if_any(rule->value, INTERCEPT_SIZE, 0);
        emit_intercept();
        return;
    case IF_POINTER:
        load(low_word_of(rule->arg));
        jump_if_equal(0, 0, 2);
        load(low_word_of(rule->arg) + 4);
        jump_if_equal(0, INTERCEPT_SIZE, 0);
        emit_intercept();
        return;
    case ANSWER_IF_EQUAL:
        load(low_word_of(rule->arg));
        jump_if_equal(rule->value, 0, INTERCEPT_SIZE);
        emit_unless_gate(SECCOMP_RET_ERRNO);
        return;
    case ASK_GUARD: give(SECCOMP_RET_TRACE | rule->value); return;
    case IF_FILE:
        load(low_word_of(rule->arg));
        emit(BPF_JMP | BPF_JGE | BPF_K, 0, INTERCEPT_SIZE, files_base);
        emit_intercept();
        return;
    }
}

static void emit_rule(const struct rule *rule) {
    u16 test_at = length;
    jump_if_equal(rule->number, 0, 0);
    emit_body(rule);
    load(offsetof(struct seccomp_data, nr));
    program[test_at].jf = (u8)(length - test_at - 1);
}

/* High enough not to meet other files' numbers, below the limit of open files, and no higher than the kernel's table of them may
 * grow for it: fork copies that. */
static u32 choose_files_base(void) {
    u64 limit[2] = {BASE_MAX, BASE_MAX};
    SYS2(__NR_getrlimit, RLIMIT_NOFILE, limit);
    u64 most = min_u64(limit[0], BASE_MAX);
    return (u32)max_u64(most > 2 * BASE_ROOM ? most - BASE_ROOM : most / 2, BASE_STEP) / BASE_STEP * BASE_STEP;
}

/* In front, for reads are many. */
static void emit_file_rules(void) {
    files_base = choose_files_base();
    const struct rule probe = {BASE_PROBE, ANSWER, 0, TOLD + files_base / BASE_STEP};
    for (size_t i = 0; i < FILE_RULES; i++) emit_rule(&file_rules[i]);
    emit_rule(&probe);
}

static void start_building(void) {
    length = 0;
    load(offsetof(struct seccomp_data, arch));
    jump_if_equal(AUDIT_ARCH_X86_64, 1, 0);
    give(SECCOMP_RET_KILL_PROCESS); /* 32-bit system calls would bypass the rules */
    load(offsetof(struct seccomp_data, nr));
    emit(BPF_JMP | BPF_JGE | BPF_K, 0, 1, 0x40000000); /* x32 */
    emit_answer(ENOSYS);
}

static void build(struct filter_wishes wishes) {
    start_building();
    if (wishes.files) emit_file_rules();
    for (size_t i = 0; i < RULES; i++) emit_rule(&rules[i]);
    if (wishes.observed) emit_rule(&exit_rule);
    for (size_t i = 0; wishes.memory_limited && i < 3; i++) emit_rule(&identity_rules[i]);
    for (size_t i = 0; wishes.opens && i < OPENING_RULES; i++) emit_rule(&opening_rules[i]);
    give(SECCOMP_RET_ALLOW);
}

bool filter_is_installed(void) {
    return SYS0(CLOISTER_FILTER_PROBE_NR) == -(CLOISTER_FILTER_PROBE_BASE + CLOISTER_ABI_VERSION);
}

static long install(u64 flags) {
    struct {
        u16 length;
        struct sock_filter *program;
    } wanted = {length, program};
    return SYS3(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW | flags, &wanted);
}

void filter_install(struct filter_wishes wishes) {
    build(wishes);
    SYS5(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    long error = install(0);
    if (failed(error))
        fail(CLOISTER_EXIT_CANNOT_PROTECT, "a seccomp filter could not be installed", error,
             "use a kernel with CONFIG_SECCOMP_FILTER; in a container: --security-opt seccomp=unconfined");
}

u32 filter_files_base(void) {
    long told = -SYS0(BASE_PROBE) - TOLD;
    return told > 0 ? (u32)told * BASE_STEP : 0;
}

static void build_wide(void) {
    const struct rule probe = {WIDE_PROBE, ANSWER, 0, TOLD};
    start_building();
    for (size_t i = 0; i < WIDE_RULES; i++) emit_rule(&wide_rules[i]);
    emit_rule(&probe);
    give(SECCOMP_RET_ALLOW);
}

/* All threads get it. Stands under the lock, which also keeps `program`; in a vfork child too. */
bool filter_widen(void) {
    if (SYS0(WIDE_PROBE) == -TOLD) return true;
    build_wide();
    return install(SECCOMP_FILTER_FLAG_TSYNC) == 0;
}
