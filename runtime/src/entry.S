/* Entry points and the gate: every `syscall` instruction of the runtime stands between gate_start and gate_end. */
#include "cloister_abi.h"

#define SYS_rt_sigreturn 15
#define SYS_clone 56
#define SYS_exit 60
#define SYS_futex 202
#define SYS_set_tid_address 218
#define FUTEX_WAKE_PRIVATE 129

    .section .gate, "ax", @progbits
    .globl gate_start
gate_start:

/* long rt_syscall(long number, u64 a, b, c, d, e, f) */
    .globl rt_syscall
    .type rt_syscall, @function
rt_syscall:
    mov %rdi, %rax
    mov %rsi, %rdi
    mov %rdx, %rsi
    mov %rcx, %rdx
    mov %r8, %r10
    mov %r9, %r8
    mov 8(%rsp), %r9
    syscall
    ret

/* The SA_RESTORER of the SIGSYS handler. */
    .globl rt_sigreturn
rt_sigreturn:
    mov $SYS_rt_sigreturn, %eax
    syscall

/* noreturn rt_thread_exit(int *clear_tid, long status): what the kernel does for CLONE_CHILD_CLEARTID, which it cannot
 * do itself on secret memory (a shared futex there is EFAULT). No stack: the joiner may unmap it once *clear_tid is 0. */
    .globl rt_thread_exit
rt_thread_exit:
    mov %rdi, %r12
    mov %rsi, %r13
    xor %edi, %edi
    mov $SYS_set_tid_address, %eax
    syscall
    test %r12, %r12
    jz 1f
    movl $0, (%r12)
    mov %r12, %rdi
    mov $FUTEX_WAKE_PRIVATE, %esi
    mov $0x7fffffff, %edx
    mov $SYS_futex, %eax
    syscall
1:  mov %r13, %rdi
    mov $SYS_exit, %eax
    syscall
    hlt

/* long rt_clone_on(u64 flags, void *stack_top, int *parent_tid, void (*child)(void *), void *arg): clone whose child runs
 * child(arg) on its own stack and never returns; the parent gets the child's pid or a negative errno. */
    .globl rt_clone_on
    .type rt_clone_on, @function
rt_clone_on:
    mov %rcx, %r9
    xor %r10d, %r10d
    mov $SYS_clone, %eax
    syscall
    test %rax, %rax
    jz 1f
    ret
1:  xor %ebp, %ebp
    mov %r8, %rdi
    call *%r9
    hlt

/* long rt_ask_key(u8 key[32], u64 vdso, u64 vdso_size): what the guard answers, 0 or 1 (guard_key.c), or -ENOSYS. Without a place for
 * the key it only looks; with one, it puts the key into rbx, r12, r13 and r14: not into registers of arguments, which
 * /proc/PID/syscall shows of a thread that has stopped. */
    .globl rt_ask_key
rt_ask_key:
    push %rbx
    push %r12
    push %r13
    push %r14
    mov $CLOISTER_FILTER_KEY_NR, %eax
    syscall
    test %rax, %rax
    js 1f
    test %rdi, %rdi
    jz 1f
    mov %rbx, 0(%rdi)
    mov %r12, 8(%rdi)
    mov %r13, 16(%rdi)
    mov %r14, 24(%rdi)
1:  pop %r14
    pop %r13
    pop %r12
    pop %rbx
    ret

/* long rt_ask_words(struct guard_question *): all of it to registers, a stop of the guard (guard_keep.c), and back. What proves the key
 * goes in rbx, r12, r13 and r14, as the key itself above. */
    .globl rt_ask_words
rt_ask_words:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    push %rdi
    mov 8(%rdi), %rsi
    mov 16(%rdi), %rdx
    mov 24(%rdi), %r10
    mov 32(%rdi), %r8
    mov 40(%rdi), %r9
    mov 48(%rdi), %r15
    mov 56(%rdi), %rbp
    mov 64(%rdi), %rbx
    mov 72(%rdi), %r12
    mov 80(%rdi), %r13
    mov 88(%rdi), %r14
    mov 0(%rdi), %rdi
    mov $CLOISTER_FILTER_WORDS_NR, %eax
    syscall
    pop %rcx
    mov %rdi, 0(%rcx)
    mov %rsi, 8(%rcx)
    mov %rdx, 16(%rcx)
    mov %r10, 24(%rcx)
    mov %r8, 32(%rcx)
    mov %r9, 40(%rcx)
    mov %r15, 48(%rcx)
    mov %rbp, 56(%rcx)
    mov %rbx, 64(%rcx)
    mov %r12, 72(%rcx)
    mov %r13, 80(%rcx)
    mov %r14, 88(%rcx)
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret

/* Replays a system call with substituted arguments after the SIGSYS handler has returned, so that a blocking call runs with
 * the program's own signal mask. struct replay_frame (trap.c) stands at %rsp; `ret $128` steps over the red zone. */
    .globl rt_replay
rt_replay:
    syscall
1:  mov 0(%rsp), %rdi
    mov 8(%rsp), %rsi
    mov 16(%rsp), %rdx
    mov 24(%rsp), %r10
    mov 32(%rsp), %r8
    mov 40(%rsp), %r9
    lea 80(%rsp), %rsp
    ret $128

/* The same for a wait to which the runtime gave a time limit that the program did not ask for (futex.c). */
    .globl rt_replay_bounded
rt_replay_bounded:
    syscall
2:  cmp $-110, %rax /* ETIMEDOUT: a spurious wake-up to the program */
    jne 1b
3:  xor %eax, %eax
    jmp 1b

/* For a wait on a word that stands for the program's: EAGAIN says that somebody woke just now, not that the program's word differs. */
    .globl rt_replay_shared
rt_replay_shared:
    syscall
    cmp $-11, %rax /* EAGAIN */
    je 3b
    jmp 1b

    .globl rt_replay_shared_bounded
rt_replay_shared_bounded:
    syscall
    cmp $-11, %rax
    je 3b
    jmp 2b

    .globl gate_end
gate_end:

    .text
    .globl _start
_start:
    mov %rsp, %rdi
    xor %ebp, %ebp
    and $-16, %rsp
    call start_main
    hlt

/* noreturn rt_enter_program(void *stack, void *entry): rdx = 0 means "no function to register at exit" (psABI). */
    .globl rt_enter_program
rt_enter_program:
    mov %rdi, %rsp
    mov %rsi, %rax
    xor %edx, %edx
    xor %ebx, %ebx
    xor %ebp, %ebp
    xor %ecx, %ecx
    xor %edi, %edi
    xor %esi, %esi
    xor %r8d, %r8d
    xor %r9d, %r9d
    xor %r10d, %r10d
    xor %r11d, %r11d
    xor %r12d, %r12d
    xor %r13d, %r13d
    xor %r14d, %r14d
    xor %r15d, %r15d
    jmp *%rax

/* noreturn rt_switch_stack(void *stack_top, void (*fn)(void *), void *arg) */
    .globl rt_switch_stack
rt_switch_stack:
    mov %rdi, %rsp
    and $-16, %rsp
    xor %ebp, %ebp
    mov %rdx, %rdi
    call *%rsi
    hlt

/* void rt_on_stack(void *stack_top, void (*fn)(void *), void *arg): calls it there and comes back. */
    .globl rt_on_stack
    .type rt_on_stack, @function
rt_on_stack:
    push %rbx
    mov %rsp, %rbx
    mov %rdi, %rsp
    mov %rdx, %rdi
    call *%rsi
    mov %rbx, %rsp
    pop %rbx
    ret

/* long rt_save(struct context *): 0 now, 1 when rt_resume comes back to it (in the child of a fork). */
    .globl rt_save
    .type rt_save, @function
rt_save:
    mov %rbx, 0(%rdi)
    mov %rbp, 8(%rdi)
    mov %r12, 16(%rdi)
    mov %r13, 24(%rdi)
    mov %r14, 32(%rdi)
    mov %r15, 40(%rdi)
    lea 8(%rsp), %rax
    mov %rax, 48(%rdi)
    mov (%rsp), %rax
    mov %rax, 56(%rdi)
    xor %eax, %eax
    ret

    .globl rt_resume
rt_resume:
    mov 0(%rdi), %rbx
    mov 8(%rdi), %rbp
    mov 16(%rdi), %r12
    mov 24(%rdi), %r13
    mov 32(%rdi), %r14
    mov 40(%rdi), %r15
    mov 48(%rdi), %rsp
    mov $1, %eax
    jmp *56(%rdi)

/* SIGSYS lands here: (int signal, siginfo *, ucontext *). */
    .globl rt_sigsys_entry
rt_sigsys_entry:
    jmp trap_handler

/* The runtime's handlers of a deferred child (deferral.h), called likewise. */
    .globl rt_fault_entry
rt_fault_entry:
    jmp deferral_fault

    .globl rt_stand_in_entry
rt_stand_in_entry:
    jmp deferral_stand_in

/* Asks the handler of faults for completion: text cannot be written. It goes on behind the instruction. */
    .globl rt_request, rt_requested
rt_request:
    movb $0, gate_start(%rip)
rt_requested:
    ret

/* As from a patched site; deferral_calls.c put the address to go back to on the stack, below the red zone. */
    .globl rt_call_directly
rt_call_directly:
    call rt_direct_entry
    ret $128

/* A patched system-call site comes here through its stub, with the system-call registers as at the site. All registers but
 * rax, rcx and r11 must survive, as they do across `syscall`. The pushed words are struct direct_frame (trap.c). */
    .globl rt_direct_entry
rt_direct_entry:
    push %r9
    push %r8
    push %r10
    push %rdx
    push %rsi
    push %rdi
    push %rax
    push %rbx
    mov %rsp, %rbx
    lea 8(%rsp), %rdi
    and $-16, %rsp
    cld
    call direct_handler
    mov %rbx, %rsp
    pop %rbx
    lea 8(%rsp), %rsp
    pop %rdi
    pop %rsi
    pop %rdx
    pop %r10
    pop %r8
    pop %r9
    ret

    .section .note.GNU-stack, "", @progbits
