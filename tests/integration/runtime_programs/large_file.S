# Tables that take long to copy when the program starts: 40 MiB of constants, 4 MiB of data, each word another.
    .section .rodata
    .globl constants, constants_end
    .balign 4096
constants:
    .set i, 0
    .rept 1024
    .fill 10240, 4, i
    .set i, i + 1
    .endr
constants_end:

    .data
    .globl data, data_end
    .balign 4096
data:
    .set i, 0
    .rept 1024
    .fill 1024, 4, i
    .set i, i + 1
    .endr
data_end:
    .section .note.GNU-stack, "", @progbits
