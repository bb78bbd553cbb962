/* The ways into aes_gcm.c where it is part of the runtime. It is the one file in C that uses vector registers, and those are the
 * program's: a patched call site must find them as they were. So the Makefile puts its code into a section of its own under other
 * names, and what has the names of aes_gcm.h saves all of them, calls it, and restores them. Upper halves (YMM, ZMM) survive, for it
 * uses the old encodings only. `make check` looks for all of this. */
#define SAVED (16 * 16)
#define ARGUMENTS 16 /* two more than fit into registers: no function there has more */

    .macro door name
    .globl \name
    .type \name, @function
\name:
    lea \name\()_inside(%rip), %rax
    jmp through
    .endm

    .macro each_register what
    .irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    .ifc \what, save
    movdqu %xmm\number, ARGUMENTS + 16 * \number(%rsp)
    .else
    movdqu ARGUMENTS + 16 * \number(%rsp), %xmm\number
    .endif
    .endr
    .endm

    .text
    .globl vector_doors_start, vector_doors_end
vector_doors_start:
    door gcm_is_supported
    door gcm_init
    door gcm_init_128
    door gcm_seal
    door gcm_open

through:
    push %rbp
    mov %rsp, %rbp
    sub $(SAVED + ARGUMENTS), %rsp
    and $-16, %rsp
    each_register save
    mov 16(%rbp), %r10
    mov 24(%rbp), %r11
    mov %r10, (%rsp)
    mov %r11, 8(%rsp)
    call *%rax
    each_register restore
    leave
    ret
vector_doors_end:

    .section .note.GNU-stack, "", @progbits
