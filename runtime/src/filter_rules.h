/* The rules of the system-call filter, each with its reason. Included by filter.c alone, which makes the programs of them. */
#ifndef CLOISTER_FILTER_RULES_H
#define CLOISTER_FILTER_RULES_H

#include <linux/fcntl.h>
#include <linux/futex.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/sched.h>

#include "rt.h"

enum test {
    ALWAYS,   /* intercept */
    ANSWER,   /* do not make the call; the result is -value */
    IF_SET,   /* intercept if argument `arg` has any bit of `value` */
    UNLESS_SET,
    IF_POINTER, /* intercept if argument `arg` is not NULL */
    IF_EQUAL, /* intercept if argument `arg` == value */
    ANSWER_IF_EQUAL, /* argument `arg` == value: do not make the call unless it is the runtime's, the result is 0 */
    ASK_GUARD,       /* stop for the guard, which is told `value` */
    ANSWER_IF_SHARED, /* argument `arg` has CLONE_FILES and not CLONE_THREAD: do not make the call; the result is -value */
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
    {__NR_mincore, ALWAYS, 0, 0}, /* to the kernel, free memory of the window is mapped */
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
    /* Whoever copies a ring's descriptor may put orders into it, and the kernel carries them out with this process's memory.
     * Where files are injected it would open and read by itself, besides. Programs then do without. */
    {__NR_io_uring_setup, ANSWER, 0, ENOSYS},
    {__NR_io_setup, ANSWER, 0, ENOSYS}, /* its completions stand in ordinary memory, where others could write some of their own */
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
    {__NR_rt_sigaction, IF_EQUAL, 0, 31 /* SIGSYS: what is asked for is the program's, not the runtime's */},
    {__NR_rt_sigprocmask, IF_POINTER, 1, 0},
    {__NR_rt_sigsuspend, ALWAYS, 0, 0},
    {__NR_ppoll, IF_POINTER, 3, 0},
    {__NR_pselect6, IF_POINTER, 5, 0},
    {__NR_epoll_pwait, IF_POINTER, 4, 0},
    {__NR_epoll_pwait2, IF_POINTER, 4, 0},
    /* Shared futexes on secret memory fail in the kernel. */
    {__NR_futex, UNLESS_SET, 1, FUTEX_PRIVATE_FLAG},
    /* The limit of address space, of which the kernel would count what is only reserved (limits.c). */
    {__NR_setrlimit, IF_EQUAL, 0, RLIMIT_AS},
    {__NR_getrlimit, IF_EQUAL, 0, RLIMIT_AS},
    {__NR_prlimit64, IF_EQUAL, 1, RLIMIT_AS},
    /* Numbers of descriptors: the runtime's own must not be met (numbers.c). */
    {__NR_dup2, ALWAYS, 0, 0},
    {__NR_dup3, ALWAYS, 0, 0},
    {__NR_close_range, ALWAYS, 0, 0},
    /* Names. */
    {__NR_readlink, ALWAYS, 0, 0},
    {__NR_readlinkat, ALWAYS, 0, 0},
    /* Protection that the program must not take back: core dumps hold registers, a named tracer could attach. */
    {__NR_prctl, ANSWER_IF_EQUAL, 0, PR_SET_DUMPABLE},
    {__NR_prctl, ANSWER_IF_EQUAL, 0, PR_SET_PTRACER},
    {CLOISTER_FILTER_PROBE_NR, ANSWER, 0, CLOISTER_FILTER_PROBE_BASE + CLOISTER_ABI_VERSION},
    {CLOISTER_FILTER_KEY_NR, ASK_GUARD, 0, CLOISTER_FILTER_KEY_NR},
    {CLOISTER_FILTER_WORDS_NR, ASK_GUARD, 0, CLOISTER_FILTER_WORDS_NR},
};

static const struct rule exit_rule = {__NR_exit_group, ALWAYS, 0, 0};
static const struct rule identity_rules[] = {
    {__NR_setuid, ALWAYS, 0, 0},
    {__NR_setreuid, ALWAYS, 0, 0},
    {__NR_setresuid, ALWAYS, 0, 0},
    {__NR_capset, ALWAYS, 0, 0},
};

/* Where files are injected, measured or learned: no way to a file that is not seen. */
static const struct rule opening_rules[] = {
    {__NR_open, ALWAYS, 0, 0},
    {__NR_openat, ALWAYS, 0, 0},
    {__NR_openat2, ALWAYS, 0, 0},
    {__NR_creat, ALWAYS, 0, 0},
    {__NR_open_by_handle_at, ANSWER, 0, EOPNOTSUPP},
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
    {__NR_recvmsg, ALWAYS, 0, 0}, /* descriptors come this way, at numbers that any file may have */
    {__NR_recvmmsg, ALWAYS, 0, 0},
    {__NR_pidfd_getfd, ALWAYS, 0, 0},
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

#endif
