/* One intercepted system call, however it was caught, and the calls that are answered outside memory.h. */
#ifndef CLOISTER_CALL_H
#define CLOISTER_CALL_H

#include "rt.h"

/* struct ucontext of the x86-64 kernel ABI (asm/ucontext.h, asm/sigcontext.h), up to the signal mask. */
struct trap_frame {
    u64 flags;
    void *link;
    struct {
        void *pointer;
        int flags;
        u64 size;
    } stack;
    u64 r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
    u16 cs, gs, fs, ss;
    u64 error, trap, old_mask, cr2;
    void *floating_point;
    u64 reserved[8];
    u64 signals; /* the program's signal mask, restored when the handler returns */
};

struct call {
    u64 number;
    u64 arg[6];
    struct trap_frame *frame; /* NULL if a patched site called directly: then the program's mask is in force, */
    const u64 *held;          /* unless this is where it is kept, because the runtime has blocked all */
};

enum { SIGSYS_NUMBER = 31 };
#define SIGSYS_BIT (1UL << (SIGSYS_NUMBER - 1))

/* Makes the call happen in the kernel after the handler has returned, with these arguments and `data` copied to where
 * arg[data_arg] then points (no data if data_arg < 0). For calls that may block: they must run under the program's mask. */
void call_replay(struct call *call, const u64 arg[6], int data_arg, const void *data, size_t data_size);

long fork_process(struct call *call);
long execute(struct call *call);
long execute_at(struct call *call);
long signal_action(struct call *call);
long signal_mask(struct call *call);
void signal_wait(struct call *call);
void signal_foreign_sigsys(int signal, void *info, struct trap_frame *frame);
/* *replayed is set if the kernel answers it after the handler has returned; NULL for a patched site. */
long futex_call(struct call *call, bool *replayed);
/* The enum area_kind of what is mapped there, 0 if nothing is. Takes the lock; signals must be blocked. */
int memory_kind_at(u64 address);
__attribute__((noreturn)) void thread_exit(long status);
long numbers_call(struct call *call);
long limit_call(struct call *call);
long path_readlink(struct call *call);
long identity_change(struct call *call);
long capability_change(struct call *call);
bool path_is_own_exe(const char *path);

#endif
