/* The way back from a recall without the kernel (recall.c). */
    .text

/* void rt_give_vector_back(const void *saved, u64 features): all vector and floating-point registers as the kernel saved them for the
 * handler. `make check` looks that nothing else stands here. */
    .globl vector_back_start, vector_back_end, rt_give_vector_back
    .type rt_give_vector_back, @function
vector_back_start:
rt_give_vector_back:
    mov %esi, %eax
    mov %rsi, %rdx
    shr $32, %rdx
    test %rsi, %rsi
    jz 1f
    xrstor64 (%rdi)
    ret
1:  fxrstor64 (%rdi)
    ret
vector_back_end:

/* noreturn rt_go_on(const struct trap_frame *, u64 flags_and_place[2]): the registers as they were, but for rcx and r11, which the system
 * call that stands there changes anyway. The second argument stands below the red zone of the stack that is gone back to. Signals may
 * come at any moment, so the frame is not read once the stack is the other one. */
    .globl rt_go_on
    .type rt_go_on, @function
rt_go_on:
    mov %rdi, %rcx
    mov %rsi, %r11
    mov 40(%rcx), %r8
    mov 48(%rcx), %r9
    mov 56(%rcx), %r10
    mov 72(%rcx), %r12
    mov 80(%rcx), %r13
    mov 88(%rcx), %r14
    mov 96(%rcx), %r15
    mov 104(%rcx), %rdi
    mov 112(%rcx), %rsi
    mov 120(%rcx), %rbp
    mov 128(%rcx), %rbx
    mov 136(%rcx), %rdx
    mov 144(%rcx), %rax
    mov %r11, %rsp
    popf
    ret $128

    .section .note.GNU-stack, "", @progbits
