/* Without a C library: a small file in which most bytes matter. Static, at a fixed place or anywhere. */
enum { SIZE = 5000 };

static const volatile unsigned char constants[SIZE] = {1, 2, 3, 4, 5};
static volatile unsigned char data[SIZE] = {6, 7, 8}, zeros[3 * 4096];

static long call(long number, long a, const void *b, long c) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

static unsigned sum(const volatile unsigned char *bytes, unsigned count) {
    unsigned all = 0;
    for (unsigned i = 0; i < count; i++) all = all * 31 + bytes[i];
    return all;
}

__attribute__((used)) static void start(const unsigned long *stack) {
    unsigned words[4] = {sum(constants, SIZE), sum(data, SIZE), sum(zeros, sizeof zeros), (unsigned)stack[0]};
    char line[40];
    unsigned at = 0;
    for (unsigned i = 0; i < 4; i++)
        for (int shift = 28; shift >= 0; shift -= 4) line[at++] = "0123456789abcdef"[words[i] >> shift & 15];
    line[at++] = '\n';
    zeros[sizeof zeros - 1] = data[SIZE - 1] = 1;
    call(1, 1, line, at);
    call(231, 7, 0, 0);
}

__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall start\n");
