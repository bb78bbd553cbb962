/* void sha256_blocks(u32 state[8], const u8 *blocks, size_t count): FIPS 180-4 by the processor's SHA instructions (Intel SDM
 * volume 2, SHA256RNDS2). For files, not for keys. The vector registers are the program's: every one that is used here is saved
 * first and restored last, which `make check` looks for between vector_start and vector_end. */
#define SAVED (11 * 16)
#define KW %xmm0 /* what sha256rnds2 takes without naming it: words of the message plus constants */
#define ABEF %xmm1
#define CDGH %xmm2
#define SPARE %xmm7
#define SWAP %xmm8
#define ABEF_BEFORE %xmm9
#define CDGH_BEFORE %xmm10

/* Rounds \i to \i + 3, with the message words that they take in \now; the words of later rounds grow in the others. */
.macro four_rounds i, now, next, after, last
.if \i < 16
    movdqu 4 * \i(%rsi), \now
    pshufb SWAP, \now
.endif
    movdqa 4 * \i(%rax), KW
    paddd \now, KW
    sha256rnds2 ABEF, CDGH
.if \i >= 12 && \i < 60
    movdqa \now, SPARE
    palignr $4, \last, SPARE
    paddd SPARE, \next
    sha256msg2 \now, \next
.endif
    punpckhqdq KW, KW
    sha256rnds2 CDGH, ABEF
.if \i >= 4 && \i < 52
    sha256msg1 \now, \last
.endif
.endm

    .text
    .globl sha256_blocks, vector_start, vector_end
    .type sha256_blocks, @function
vector_start:
sha256_blocks:
    sub $SAVED, %rsp
    movdqu %xmm0, (%rsp)
    movdqu %xmm1, 16(%rsp)
    movdqu %xmm2, 32(%rsp)
    movdqu %xmm3, 48(%rsp)
    movdqu %xmm4, 64(%rsp)
    movdqu %xmm5, 80(%rsp)
    movdqu %xmm6, 96(%rsp)
    movdqu %xmm7, 112(%rsp)
    movdqu %xmm8, 128(%rsp)
    movdqu %xmm9, 144(%rsp)
    movdqu %xmm10, 160(%rsp)
    test %rdx, %rdx
    jz 2f
    lea constants(%rip), %rax
    movdqa swap(%rip), SWAP
    movdqu (%rdi), ABEF         /* d c b a, from the upper end down */
    movdqu 16(%rdi), CDGH       /* h g f e */
    movdqa ABEF, SPARE
    punpcklqdq CDGH, ABEF       /* f e b a */
    punpckhqdq SPARE, CDGH      /* d c h g */
    pshufd $0x1b, ABEF, ABEF    /* a b e f */
    pshufd $0xb1, CDGH, CDGH    /* c d g h */
1:  movdqa ABEF, ABEF_BEFORE
    movdqa CDGH, CDGH_BEFORE
.irp i, 0, 16, 32, 48
    four_rounds (\i + 0), %xmm3, %xmm4, %xmm5, %xmm6
    four_rounds (\i + 4), %xmm4, %xmm5, %xmm6, %xmm3
    four_rounds (\i + 8), %xmm5, %xmm6, %xmm3, %xmm4
    four_rounds (\i + 12), %xmm6, %xmm3, %xmm4, %xmm5
.endr
    paddd ABEF_BEFORE, ABEF
    paddd CDGH_BEFORE, CDGH
    add $64, %rsi
    dec %rdx
    jnz 1b
    movdqa ABEF, SPARE
    punpcklqdq CDGH, ABEF       /* g h e f */
    punpckhqdq SPARE, CDGH      /* a b c d */
    pshufd $0xb1, ABEF, ABEF    /* h g f e */
    pshufd $0x1b, CDGH, CDGH    /* d c b a */
    movdqu CDGH, (%rdi)
    movdqu ABEF, 16(%rdi)
2:  movdqu (%rsp), %xmm0
    movdqu 16(%rsp), %xmm1
    movdqu 32(%rsp), %xmm2
    movdqu 48(%rsp), %xmm3
    movdqu 64(%rsp), %xmm4
    movdqu 80(%rsp), %xmm5
    movdqu 96(%rsp), %xmm6
    movdqu 112(%rsp), %xmm7
    movdqu 128(%rsp), %xmm8
    movdqu 144(%rsp), %xmm9
    movdqu 160(%rsp), %xmm10
    add $SAVED, %rsp
    ret
vector_end:

    .section .rodata
    .balign 16
swap: /* words are big-endian */
    .octa 0x0c0d0e0f08090a0b0405060700010203
constants:
    .long 0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5
    .long 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174
    .long 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da
    .long 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967
    .long 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85
    .long 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070
    .long 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3
    .long 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2

    .section .note.GNU-stack, "", @progbits
