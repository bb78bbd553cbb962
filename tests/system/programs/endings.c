/* Ends in the way that its first argument names. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int deep(volatile char *above) {
    volatile char room[4096];
    room[0] = above ? above[0] : 1;
    return deep(room) + room[0];
}

int main(int count, char **words) {
    const char *how = count > 1 ? words[1] : "";
    printf("before\n");
    fflush(stdout);
    if (!strcmp(how, "exit")) exit(atoi(words[2]));
    if (!strcmp(how, "_exit")) _exit(atoi(words[2]));
    if (!strcmp(how, "abort")) abort();
    if (!strcmp(how, "null")) *(volatile int *)0 = 1;
    if (!strcmp(how, "call-null")) ((void (*)(void))0)();
    if (!strcmp(how, "read-only")) *(volatile char *)"text" = 1;
    if (!strcmp(how, "high")) *(volatile char *)0xffff800000001000 = 1;
    if (!strcmp(how, "data")) {
        static volatile char data[64] = "\xc3";
        ((void (*)(void))(uintptr_t)data)();
    }
    if (!strcmp(how, "overflow")) return deep(NULL);
    if (!strcmp(how, "divide")) {
        volatile int zero = 0;
        return count / zero;
    }
    if (!strcmp(how, "trap")) __builtin_trap();
#ifdef __x86_64__
    if (!strcmp(how, "breakpoint")) __asm__ volatile("int3");
    if (!strcmp(how, "privileged")) __asm__ volatile("hlt");
    if (!strcmp(how, "privileged-port")) __asm__ volatile("outb %%al, $0x80" : : "a"(0));
    if (!strcmp(how, "privileged-register")) __asm__ volatile("mov %%cr0, %%rax" : : : "rax");
#endif
    return 99;
}
