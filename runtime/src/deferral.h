/* A forked child that does not have its own memory yet. Most children execute another program or end within milliseconds, and what was
 * copied for them is thrown away. So the child starts in the memory that it shares with its parent, which it may only read, while the
 * parent's only thread waits, as after vfork(2):
 *
 * - A page that the child writes to becomes private at that moment (a fault of its own, deferral.c).
 * - Every system call of its program comes to the runtime (Syscall User Dispatch), because the kernel cannot write to what is held back:
 *   what is known to be quick and where it writes is done at once (deferral_calls.c).
 * - Anything else first *completes* the child: it gets all of its memory and is from then on as any other process.
 * - When the child ends or executes, its parent goes on at once. When it takes too long, its parent gives itself the copies
 *   (deferral_parent.c): no parent and child may wait for each other here.
 */
#ifndef CLOISTER_DEFERRAL_H
#define CLOISTER_DEFERRAL_H

#include "call.h"

enum {
    DEFERRAL_STACK = 96 << 10, DEFERRAL_POOL = 656, /* pages: what is likely, what faults, the stack */
    DEFERRAL_SIGNALS = 65, DEFERRAL_SIGNAL_INFO = 128 /* siginfo_t */,
};

#define SEGV_BIT (1UL << (11 - 1))

/* Who may do what with the shared memory. Both sides change it by comparing. */
enum deferral_phase {
    DEFERRAL_RUNNING,    /* the child reads it, the parent waits */
    DEFERRAL_COMPLETING, /* the child copies it, the parent waits */
    DEFERRAL_SPLITTING,  /* the parent copies it, the child reads it and must wait before it writes */
    DEFERRAL_DONE,       /* nobody else uses it */
    DEFERRAL_FAILED,     /* there was no memory: the child never was */
};

struct kernel_action { /* struct sigaction of the kernel's ABI */
    u64 handler, flags, restorer, mask;
};

/* UAPI_SA_FLAGS of linux/signal.h with SA_RESTORER, and the signals that no mask may hold: what the kernel keeps of an action. */
#define KNOWN_FLAGS 0xdc000807UL
#define KILL_AND_STOP (1UL << (9 - 1) | 1UL << (19 - 1))

/* An entry of a robust list (get_robust_list(2)): the kernel looks at it when the thread ends or executes. */
struct robust_word {
    struct robust_word *next;
    u32 word, unused;
};

struct robust_head {
    struct robust_word *next;
    long offset; /* from an entry to its word */
    void *pending;
};

/* Stands in secret memory that both processes have mapped and nobody else; nothing in it is the program's. */
struct deferral {
    u32 phase, unused;
    long parent;               /* its process id, as the child sees it */
    struct robust_word owner;  /* holds the child's id; marked by the kernel when that has ended or executed */
    struct robust_word *bell;  /* in ordinary memory, where the kernel can wake: nothing else of it is believed */
    struct robust_head robust; /* the child's */
    bool no_dispatch;          /* the kernel has no Syscall User Dispatch */
    bool wrote_much;           /* it was completed because it wrote to so many pages, not for what it asked of the kernel */
    bool used_up;              /* the child lives on in its part of this block */
    u32 pool_taken, faults, faults_most;
    u64 touched[DEFERRAL_POOL]; /* which page each of the pool's stands for, for the parent to learn */
    bool busy;                  /* the runtime is at work for the child: a signal must not complete it in the middle */
    bool soon;                  /* it must be complete before its next call */
    bool segv_sent;             /* somebody sent SIGSEGV meanwhile, with this: */
    u8 segv_info[DEFERRAL_SIGNAL_INFO];
    struct trap_frame *frame;   /* by which it will leave fork(2) */
    u64 segv_blocked;           /* SIGSEGV's bit if the program blocks it; the kernel must not */
    u64 robust_head, robust_size; /* what the program has registered */
    void *stack_pointer;        /* the program's alternate signal stack */
    u64 stack_size;
    int stack_flags;
    struct kernel_action action[DEFERRAL_SIGNALS]; /* what the program believes it has set, where `replaced` */
    bool replaced[DEFERRAL_SIGNALS];
    u64 pool;                   /* DEFERRAL_POOL pages, which exist from the second fork on */
    u64 stack_top;
};

/* The child's: NULL as soon as it is as any other process. */
struct deferral *deferral_now(void);

/* On the deferral's stack, before it goes on where fork(2) was called: `low` is the lowest byte of the stack then, `frame` how it
 * will leave. False if it cannot be deferred; then all its memory must be copied. */
NODISCARD bool deferral_begin(struct deferral *deferral, u64 low, struct trap_frame *frame);
/* As the last thing before it leaves fork(2). */
void deferral_leave_fork(void);
/* What must not be cut in two by a signal that completes the child. `false`: it is complete already. */
NODISCARD bool deferral_enter(u64 *signals);
void deferral_leave(const u64 *signals);
/* From a handler of the kernel's that interrupted the program. */
void deferral_complete(struct trap_frame *frame);
/* From a handler of a signal that somebody sent: the program's own handler gets it on its own stack. */
void deferral_complete_and_send(int signal, const void *info, struct trap_frame *frame);
/* From anywhere else, on whatever stack. */
void deferral_end(void);
/* Gives the child its own pages there, as far as they are held back. False if there is no memory. */
bool deferral_open(u64 address, u64 length);
/* Its system calls. */
void deferral_call(const void *info, struct trap_frame *frame);

long deferral_signal_action(u64 signal, const struct kernel_action *new, struct kernel_action *old);
/* `signals` is the kernel's mask without what deferral_enter blocked. */
long deferral_signal_mask(u64 how, const u64 *set, u64 *old, u64 *signals);
NODISCARD bool deferral_may_execute(void); /* or must be complete before */
void deferral_replace_signals(struct deferral *deferral);
void deferral_restore_signals(struct deferral *deferral);

/* The parent's. */
NODISCARD struct deferral *deferral_prepare(const struct call *call, u64 flags); /* NULL if fork must copy at once */
const u64 *deferral_likely(u64 *count); /* pages that earlier children wrote to */
NODISCARD bool deferral_await(struct deferral *deferral); /* false: the child never was */
void deferral_forget(void); /* also in a child that was forked otherwise: it must not use its parent's */
void deferral_ring(struct deferral *deferral);

#endif
