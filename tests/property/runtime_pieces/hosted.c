/* The runtime's pure pieces as a shared library for tests: what entry.S provides is provided here, and what is static in a file
 * is made visible by including it. */
#include "filter.c"
#include "program.c"

__asm__(".pushsection .data\n.globl gate_start, gate_end, rt_direct_entry\n"
        "gate_start: .skip 159\ngate_end: .byte 0\nrt_direct_entry: .byte 0\n.popsection\n");

long rt_syscall(long number, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f) {
    register u64 r10 __asm__("r10") = d;
    register u64 r8 __asm__("r8") = e;
    register u64 r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

/* Builds the filter anew; `*size` is the number of instructions. */
const struct sock_filter *pieces_filter(bool observed, u16 *size);
const struct sock_filter *pieces_filter(bool observed, u16 *size) {
    length = 0;
    build(observed);
    *size = length;
    return program;
}

/* The rule table, the exit rule last. */
const struct rule *pieces_rules(u64 *count);
const struct rule *pieces_rules(u64 *count) {
    static struct rule all[RULES + 1];
    for (u64 i = 0; i < RULES; i++) all[i] = rules[i];
    all[RULES] = exit_rule;
    *count = RULES + 1;
    return all;
}

/* cut_line of a line without its newline, as program_script calls it. */
long pieces_cut_line(const char *text, u64 size, struct script_line *line);
long pieces_cut_line(const char *text, u64 size, struct script_line *line) {
    memcpy(line->text, text, size);
    line->text[size] = 0;
    return cut_line(line);
}
