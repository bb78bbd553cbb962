/* The runtime's own mutable state. It stands in secret memory like everything writable, and a forked child gets a copy. */
#ifndef CLOISTER_STATE_H
#define CLOISTER_STATE_H

#include "region.h"
#include "secret.h"

enum { PATH_SIZE = 4096, OPTION_SIZE = 512 };

struct counters {
    u64 traps;        /* system calls that came through SIGSYS */
    u64 direct;       /* system calls that came through a patched site */
    u64 jit;          /* mappings that are ordinary memory because they are executable */
    u64 open_files;   /* writable shared file mappings and SysV segments */
    u64 forks;
    u64 patched;      /* system-call sites patched at load time */
};

/* What every start touches stands first, for each page of secret memory costs some 20 us. */
struct state {
    struct counters counters;
    u8 handoff_key[32];                /* this tree's, also in guard 1: handoff.c */
    u64 vdso, vdso_size;               /* sealed like text; 0 if there is none */
    u64 stack_start, stack_end;        /* the program's main stack */
    u32 *shared_words;                 /* ordinary shared memory: see futex.c */
    struct region manifest;            /* what else may be code: admission.c */
    struct region files;               /* injected files: files.c */
    struct region shield;              /* what is shielded: shield/policy.c */
    u8 root_digest[32];                /* SHA-256 of the root program */
    u8 broker[32];                     /* the key of the broker that gave this tree its secrets; zeros if none did */
    int console_fd;                    /* where output for the person goes, until console_begin; -1 if the console is not relayed */
    bool files_watched;                /* the filter of this tree sees what injected files need, even if there are none any more */
    bool unsafe_no_guard;
    bool handoff_required;             /* what this tree executes must come with a sealed block: it has a manifest or secrets */
    bool keyless;                      /* executed without a block, so without a key: what it executes itself gets none */
    bool memory_limited;               /* RLIMIT_MEMLOCK holds as soon as CAP_IPC_LOCK is gone */
    char checkpoint[OPTION_SIZE];      /* "" if no observer listens */
    char report[OPTION_SIZE];          /* "" if no report is wanted */
    char learn[OPTION_SIZE];           /* "" unless what the program loads is written down: learn.c */
    char attester[OPTION_SIZE];        /* "" if nothing is provisioned, else the carrier's unix socket: provision.c */
    char root_program[PATH_SIZE];      /* the measured program of this tree, normalised; "" without a manifest */
    char program[PATH_SIZE];           /* absolute path of the running program: /proc/self/exe as it would be natively */
    char runtime[PATH_SIZE];           /* absolute path of this runtime, for exec where /proc is not mounted */
    u8 residency[PAGES_AT_ONCE];       /* owned by whoever holds the lock */
};

extern struct state state;

/* One lock guards the areas, the window and `state`. Signals are blocked while it is held, for a handler of the program that
 * maps memory would wait for its own thread. In the handler of SIGSYS they are, but for SIGSYS itself, which may be a recall
 * (guard_lease.h). */
struct lock_guard {
    u64 signals;
    bool blocked;
};
void lock_take(struct lock_guard *guard, bool signals_are_blocked);
void lock_take_quiet(struct lock_guard *guard); /* where all signals are blocked, recalls too: no system call */
void lock_give(struct lock_guard *guard);
void lock_reset_in_child(void);
/* Reading without it what is changed only with it. False: somebody has it. What is read then is right if lock_was_free afterwards. */
NODISCARD bool lock_watch(u64 *turn);
NODISCARD bool lock_was_free(u64 turn);

#endif
