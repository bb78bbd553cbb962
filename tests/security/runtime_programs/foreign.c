/* Stands where an enclave expects its own runtime. Without a libc: under the enclave's filter most calls of one would end it.
 * It asks for the key as the runtime does, says what it got, and prints its words and what the descriptor of its block holds. */
typedef unsigned long u64;

static long call(long number, u64 a, u64 b, u64 c) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

static void print(const char *text, u64 size) { call(1, 1, (u64)text, size); }

static u64 length(const char *text) {
    u64 n = 0;
    while (text[n]) n++;
    return n;
}

static void say(const char *text) { print(text, length(text)); }

/* Whether a register was changed. */
static int ask(long *result) {
    u64 mark = 0x5a5a5a5a5a5a5a5a, b, c, d, e;
    __asm__ volatile("mov %5, %%rbx\n mov %5, %%r12\n mov %5, %%r13\n mov %5, %%r14\n mov $29457, %%eax\n syscall\n"
                     "mov %%rbx, %1\n mov %%r12, %2\n mov %%r13, %3\n mov %%r14, %4\n"
                     : "=&a"(*result), "=&r"(b), "=&r"(c), "=&r"(d), "=&r"(e)
                     : "r"(mark)
                     : "rbx", "r12", "r13", "r14", "rcx", "r11", "memory");
    return b != mark || c != mark || d != mark || e != mark;
}

__attribute__((used)) void start(u64 *stack) {
    char buffer[4096];
    long result, n;
    char **word = (char **)(stack + 1);
    for (u64 i = 0; i < stack[0]; i++) say(word[i]), say("\n");
    for (char **variable = word + stack[0] + 1; *variable; variable++) say(*variable), say("\n");
    for (int attempt = 0; attempt < 2; attempt++) {
        int changed = ask(&result);
        say(result == -38 ? "refused " : "GIVEN "), say(changed ? "CHANGED\n" : "unchanged\n");
    }
    for (int fd = 3; fd < 10; fd++) /* lseek to the beginning, then read */
        for (call(8, (u64)fd, 0, 0); (n = call(0, (u64)fd, (u64)buffer, sizeof buffer)) > 0;) print(buffer, (u64)n);
    call(231, 0, 0, 0);
}

__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call start\n");
