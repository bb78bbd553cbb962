/* A stopped thread's registers, as ptrace(2) has them. */
#ifndef CLOISTER_GUARD_REGISTERS_H
#define CLOISTER_GUARD_REGISTERS_H

#include "rt.h"

/* struct user_regs_struct (arch/x86/include/asm/user_64.h). */
struct registers {
    u64 r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, original_rax, rip, cs, flags, rsp, ss;
    u64 fs_base, gs_base, ds, es, fs, gs;
};

#endif
