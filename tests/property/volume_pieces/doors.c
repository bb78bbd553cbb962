/* Whether vector registers survive what goes through the doors of aes_gcm.c. Prints what it computed. */
#include <stdio.h>
#include <string.h>

#include "aes_gcm.h"

static u8 before[16][16], after[16][16];

#define EACH(m) m(0) m(1) m(2) m(3) m(4) m(5) m(6) m(7) m(8) m(9) m(10) m(11) m(12) m(13) m(14) m(15)
#define LOAD(n) "movdqu " #n "*16(%[before]), %%xmm" #n "\n"
#define STORE(n) "movdqu %%xmm" #n ", " #n "*16(%[after])\n"

/* The call is made inside the same statement, so that the compiler has no part in what the registers hold. */
static void call(void *function, void *a, void *b, const void *c, u64 d, void *e, u64 f, void *g, void *h) {
    register u64 r8 __asm__("r8") = (u64)e, r9 __asm__("r9") = f;
    __asm__ volatile("mov %%rsp, %%rbx\nsub $512, %%rsp\nand $-16, %%rsp\npush %[h]\npush %[g]\n" EACH(LOAD)
                     "call *%[function]\n" EACH(STORE) "mov %%rbx, %%rsp\n"
                     : "+D"(a), "+S"(b), "+d"(c), "+c"(d), "+r"(r8), "+r"(r9)
                     : [before] "r"(before), [after] "r"(after), [function] "a"(function), [g] "r"(g), [h] "r"(h)
                     : "rbx", "r10", "r11", "memory", "cc");
}

static int check(const char *what) {
    int lost = memcmp(before, after, sizeof before);
    printf("%s %s\n", what, lost ? "lost" : "kept");
    return lost;
}

int main(void) {
    static struct gcm gcm;
    static u8 key[32] = {1}, nonce[12] = {2}, text[4000], sealed[4000], back[4000], tag[16];
    for (unsigned i = 0; i < sizeof before; i++) before[0][i] = (u8)(i * 37 + 11);
    for (unsigned i = 0; i < sizeof text; i++) text[i] = (u8)(i * 7);
    call(gcm_init, &gcm, key, NULL, 0, NULL, 0, NULL, NULL);
    int lost = check("init");
    call(gcm_seal, &gcm, nonce, key, sizeof key, text, sizeof text, sealed, tag);
    lost |= check("seal");
    call(gcm_open, &gcm, nonce, key, sizeof key, sealed, sizeof sealed, back, tag);
    lost |= check("open");
    printf("text %s\n", memcmp(text, back, sizeof text) ? "differs" : "is back");
    return lost != 0;
}
