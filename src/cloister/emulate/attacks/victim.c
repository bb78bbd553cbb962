/* The program that is attacked. It stands on no library, so that few pages are launched and every symbol is its own.
   One letter and a newline at a time; it answers each with a line.

     s   then a line: keeps the line as its secret      b   prints the balance
     w   takes 900 from the balance if there is so much d   puts 900 back
     r   computes with the secret in registers          c   calls one of two functions for each bit of the secret
     k   reads a line and prints how long it is         q   ends
     i   reads once and prints how many bytes came      o   what c does, without a branch on the secret
*/

#if defined __x86_64__
enum { READ = 0, WRITE = 1, EXIT = 60 };
static long call(long number, long a, long b, long c) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}
#elif defined __aarch64__
enum { READ = 63, WRITE = 64, EXIT = 93 };
static long call(long number, long a, long b, long c) {
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
}
#elif defined __riscv
enum { READ = 63, WRITE = 64, EXIT = 93 };
static long call(long number, long a, long b, long c) {
    register long a7 __asm__("a7") = number, a0 __asm__("a0") = a, a1 __asm__("a1") = b, a2 __asm__("a2") = c;
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2) : "memory");
    return a0;
}
#else
#error "written for x86-64, arm64 and riscv64"
#endif

#define PAGE 4096
#define PAGE_ALIGNED __attribute__((aligned(PAGE)))

/* Each in pages of its own: an administrator deals in pages. */
PAGE_ALIGNED volatile char secret[PAGE] = "nothing yet";
PAGE_ALIGNED volatile long balance[PAGE / sizeof(long)] = {1000};
PAGE_ALIGNED volatile long riches[PAGE / sizeof(long)] = {1000000};
PAGE_ALIGNED volatile char line[PAGE] = "a line";
PAGE_ALIGNED volatile long held = 0;

PAGE_ALIGNED __attribute__((noinline)) void bit_clear(void) { held += 5; }
PAGE_ALIGNED __attribute__((noinline)) void bit_set(void) { held += 3; }
__attribute__((noinline)) static long read_line(volatile char *to) {
    long length = 0;
    while (length < PAGE - 1 && call(READ, 0, (long)(to + length), 1) == 1 && to[length] != '\n') length++;
    to[length] = 0;
    return length;
}

static void print(const char *text) {
    long length = 0;
    while (text[length]) length++;
    call(WRITE, 1, (long)text, length);
}

static void print_number(long number) {
    char digits[24], *at = digits + sizeof digits - 1;
    int negative = number < 0;
    unsigned long left = negative ? -(unsigned long)number : (unsigned long)number;
    *at = 0;
    *--at = '\n';
    do *--at = '0' + left % 10;
    while (left /= 10);
    if (negative) *--at = '-';
    print(at);
}

/* The first eight bytes of the secret stay in registers while this computes. */
__attribute__((noinline)) static void compute(void) {
    unsigned long key = 0, state = 1;
    for (int i = 7; i >= 0; i--) key = key << 8 | (unsigned char)secret[i];
    for (int round = 0; round < 4000; round++) {
        __asm__ volatile("" : "+r"(key), "+r"(state));
        state = (state ^ key) * 0x9e3779b97f4a7c15UL;
    }
    held += (long)(state & 1);
}

/* One call for each of the first 32 bits of the secret, the highest bit of its first byte first. */
PAGE_ALIGNED __attribute__((noinline)) void walk(void) {
    for (int bit = 0; bit < 32; bit++) {
        if (secret[bit / 8] >> (7 - bit % 8) & 1) bit_set();
        else bit_clear();
    }
}

/* The same sum, by the same instructions whatever the bits are. */
static void walk_obliviously(void) {
    for (int bit = 0; bit < 32; bit++) held += 5 - 2 * (secret[bit / 8] >> (7 - bit % 8) & 1);
    print("walked\n");
}

static void obey(char letter) {
    if (letter == 's') {
        read_line(secret);
        print("kept\n");
    } else if (letter == 'b') {
        print_number(balance[0]);
    } else if (letter == 'w') {
        if (balance[0] >= 900) balance[0] -= 900;
        print("taken\n");
    } else if (letter == 'd') {
        balance[0] += 900;
        print("put back\n");
    } else if (letter == 'r') {
        compute();
        print("computed\n");
    } else if (letter == 'c') {
        walk();
        print("walked\n");
    } else if (letter == 'o') {
        walk_obliviously();
    } else if (letter == 'i') {
        print_number(call(READ, 0, (long)line, PAGE - 1));
    } else if (letter == 'k') {
        print_number(read_line(line));
    } else {
        print("unknown\n");
    }
}

__attribute__((noreturn)) void begin(void) {
    held += riches[0] == 0;
    print("ready\n");
    for (;;) {
        char command[2];
        if (call(READ, 0, (long)command, 1) != 1 || command[0] == 'q') break;
        if (command[0] != '\n') obey(command[0]);
    }
    call(EXIT, 0, 0, 0);
    __builtin_unreachable();
}

/* The stack pointer is aligned at a program's start, where a function expects a return address on it. */
#if defined __x86_64__
__asm__(".globl _start\n_start: and $-16, %rsp\n call begin\n");
#elif defined __aarch64__
__asm__(".globl _start\n_start: bl begin\n");
#else
__asm__(".globl _start\n_start: .option push\n .option norelax\n la gp, __global_pointer$\n .option pop\n call begin\n");
#endif
