/* The runtime's pure pieces as a shared library for tests: what entry.S provides is provided here, and what is static in a file
 * is made visible by including it. */
#include "filter.c"

#include "areas.h"
#include "deferral.h"
#include "guard_table.h"
#include "opening.h"
#include "patch.h"
#include "program.h"

__asm__(".pushsection .data\n.globl gate_start, gate_end, rt_direct_entry\n"
        "gate_start: .skip 159\ngate_end: .byte 0\nrt_direct_entry: .byte 0\n.popsection\n");

struct deferral *deferral_now(void) { return NULL; } /* nothing here is a deferred child */

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
const struct sock_filter *pieces_filter(bool observed, bool memory_limited, bool opens, bool files, u16 *size);
const struct sock_filter *pieces_filter(bool observed, bool memory_limited, bool opens, bool files, u16 *size) {
    length = 0;
    build((struct filter_wishes){.observed = observed, .memory_limited = memory_limited, .opens = opens, .files = files});
    *size = length;
    return program;
}

/* The second filter, of processes that read injected files at any number. */
const struct sock_filter *pieces_wide_filter(u16 *size);
const struct sock_filter *pieces_wide_filter(u16 *size) {
    build_wide();
    *size = length;
    return program;
}

u32 pieces_files_base(void);
u32 pieces_files_base(void) { return choose_files_base(); }

/* The rules that hold for these wishes, in order. */
const struct rule *pieces_rules(bool observed, bool memory_limited, bool opens, bool files, u64 *count);
const struct rule *pieces_rules(bool observed, bool memory_limited, bool opens, bool files, u64 *count) {
    static struct rule all[RULES + OPENING_RULES + FILE_RULES + 8];
    u64 n = 0;
    for (u64 i = 0; files && i < FILE_RULES; i++) all[n++] = file_rules[i];
    for (u64 i = 0; i < RULES; i++) all[n++] = rules[i];
    if (observed) all[n++] = exit_rule;
    for (u64 i = 0; memory_limited && i < sizeof identity_rules / sizeof identity_rules[0]; i++) all[n++] = identity_rules[i];
    for (u64 i = 0; opens && i < OPENING_RULES; i++) all[n++] = opening_rules[i];
    *count = n;
    return all;
}

/* program_script; the two pointers are good until the next call. */
long pieces_script(int fd, const char **interpreter, const char **argument);
long pieces_script(int fd, const char **interpreter, const char **argument) {
    static struct script_line line;
    line.interpreter = line.argument = NULL;
    long result = program_script(fd, &line);
    *interpreter = line.interpreter;
    *argument = line.argument;
    return result;
}

/* Whether opens are watched, as far as patch.c asks. */
void pieces_watch_opens(bool watched);
void pieces_watch_opens(bool watched) { state.learn[0] = watched; }

/* For the records that Python lays out itself. */
const u64 pieces_area_size = sizeof(struct area), pieces_rule_size = sizeof(struct rule), pieces_patch_target_size = sizeof(struct patch_target);

/* Memory for the table of threads, as guard 1 gives it. */
void pieces_guard_table(void);
void pieces_guard_table(void) {
    static u8 memory[GUARD_TABLE_SIZE];
    guard_table_use(memory);
}
