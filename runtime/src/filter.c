#include "filter.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/seccomp.h>

#include "../shield/calls.h"
#include "fail.h"
#include "filter_rules.h"

/* Like CLOISTER_FILTER_PROBE_NR: what a newly executed runtime cannot know otherwise, the filter tells it. */
enum {
    BASE_PROBE = CLOISTER_FILTER_KEY_NR + 1, WIDE_PROBE = BASE_PROBE + 1 /* below CLOISTER_FILTER_WORDS_NR */, TOLD = 1000, BASE_STEP = 16, BASE_MAX = 16384,
    BASE_ROOM = 128,
};

enum {
    PROGRAM_MAX = 2048, SHIELD_RULES = 192, RULES = sizeof rules / sizeof rules[0],
    OPENING_RULES = sizeof opening_rules / sizeof opening_rules[0], IDENTITY_RULES = sizeof identity_rules / sizeof identity_rules[0],
    FILE_RULES = sizeof file_rules / sizeof file_rules[0], WIDE_RULES = sizeof wide_rules / sizeof wide_rules[0],
    CHOSEN_MAX = RULES + 1 + OPENING_RULES + IDENTITY_RULES + FILE_RULES + 1 + SHIELD_RULES, TO_INTERCEPT = ~0U,
};

static struct sock_filter program[PROGRAM_MAX] BEHIND;
static struct rule chosen[CHOSEN_MAX] BEHIND; /* those that hold, in the order of their numbers */
static u16 length, chosen_count;
static u32 files_base;

static void emit(u16 code, u8 jump_true, u8 jump_false, u32 value) {
    program[length++] = (struct sock_filter){code, jump_true, jump_false, value};
}

static void load(u32 offset) { emit(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset); }
static void give(u32 verdict) { emit(BPF_RET | BPF_K, 0, 0, verdict); }
static void jump_if_equal(u32 value, u8 yes, u8 no) { emit(BPF_JMP | BPF_JEQ | BPF_K, yes, no, value); }
static void jump_if_any(u32 bits, u8 yes, u8 no) { emit(BPF_JMP | BPF_JSET | BPF_K, yes, no, bits); }

static u32 low_word_of(u8 arg) { return (u32)(offsetof(struct seccomp_data, args) + 8UL * arg); }

enum { GATE_TEST = 7 }; /* instructions */

/* The gate's own calls are let through, all others get `verdict`. Gate addresses fit one upper word (linker script). */
static void emit_unless_gate(u32 verdict) {
    u64 start = addr_of(gate_start), stop = addr_of(gate_end);
    load(offsetof(struct seccomp_data, instruction_pointer) + 4);
    jump_if_equal((u32)(start >> 32), 0, 4);
    load(offsetof(struct seccomp_data, instruction_pointer));
    emit(BPF_JMP | BPF_JGE | BPF_K, 0, 2, (u32)start);
    emit(BPF_JMP | BPF_JGT | BPF_K, 1, 0, (u32)stop);
    give(SECCOMP_RET_ALLOW);
    give(verdict);
}

/* The same for all, at the end of the program: where to is filled in by then. */
static void emit_intercept(void) { emit(BPF_JMP | BPF_JA, 0, 0, TO_INTERCEPT); }

static void emit_answer(u32 error) { give(SECCOMP_RET_ERRNO | error); }

/* What follows the test of the number. Each body ends in a verdict or falls through. */
static void emit_body(const struct rule *rule) {
    switch ((enum test)rule->test) {
    case ALWAYS: emit_intercept(); return;
    case ANSWER: emit_answer(rule->value); return;
    case IF_SET:
        load(low_word_of(rule->arg));
        jump_if_any(rule->value, 0, 1);
        emit_intercept();
        return;
    case UNLESS_SET:
        load(low_word_of(rule->arg));
        jump_if_any(rule->value, 1, 0);
        emit_intercept();
        return;
    case IF_POINTER:
        load(low_word_of(rule->arg));
        jump_if_equal(0, 0, 2);
        load(low_word_of(rule->arg) + 4);
        jump_if_equal(0, 1, 0);
        emit_intercept();
        return;
    case IF_EQUAL:
        load(low_word_of(rule->arg));
        jump_if_equal(rule->value, 0, 1);
        emit_intercept();
        return;
    case ANSWER_IF_EQUAL:
        load(low_word_of(rule->arg));
        jump_if_equal(rule->value, 0, GATE_TEST);
        emit_unless_gate(SECCOMP_RET_ERRNO);
        return;
    case ANSWER_IF_SHARED:
        load(low_word_of(rule->arg));
        jump_if_any(CLONE_THREAD, 2, 0);
        jump_if_any(CLONE_FILES, 0, 1);
        emit_answer(rule->value);
        return;
    case ASK_GUARD: give(SECCOMP_RET_TRACE | rule->value); return;
    case IF_FILE:
        load(low_word_of(rule->arg));
        emit(BPF_JMP | BPF_JGE | BPF_K, 0, 1, files_base);
        emit_intercept();
        return;
    }
}

static void choose(const struct rule *rule) {
    u16 at = chosen_count++;
    for (; at > 0 && chosen[at - 1].number > rule->number; at--) chosen[at] = chosen[at - 1];
    chosen[at] = *rule;
}

static void choose_first(const struct rule *rule) {
    u16 at = chosen_count++;
    for (; at > 0 && chosen[at - 1].number >= rule->number; at--) chosen[at] = chosen[at - 1];
    chosen[at] = *rule;
}

static void choose_all(const struct rule *list, size_t count) {
    for (size_t i = 0; i < count; i++) choose(&list[i]);
}

/* One number's rules, in the order in which they were chosen. Returns where the next number's begin. */
static u16 emit_number(u16 at) {
    u16 number = chosen[at].number, test_at = length;
    jump_if_equal(number, 0, 0);
    for (; at < chosen_count && chosen[at].number == number; at++) emit_body(&chosen[at]);
    give(SECCOMP_RET_ALLOW);
    program[test_at].jf = (u8)(length - test_at - 1);
    return at;
}

enum { FEW = 4 };

/* By halves: when a filter is installed, the kernel tries it with every number (seccomp_cache_prepare), and a call that is intercepted
 * goes through it each time. */
static void emit_tree(u16 from, u16 to) {
    u16 middle = (u16)(from + (to - from) / 2);
    while (middle > from && chosen[middle - 1].number == chosen[middle].number) middle--;
    if (to - from <= FEW || middle == from) {
        while (from < to) from = emit_number(from);
        give(SECCOMP_RET_ALLOW);
        return;
    }
    emit(BPF_JMP | BPF_JGE | BPF_K, 0, 1, chosen[middle].number);
    u16 jump_at = length;
    emit(BPF_JMP | BPF_JA, 0, 0, 0);
    emit_tree(from, middle);
    program[jump_at].k = (u32)(length - jump_at - 1);
    emit_tree(middle, to);
}

/* High enough not to meet other files' numbers, below the limit of open files, and no higher than the kernel's table of them may
 * grow for it: fork copies that. */
static u32 choose_files_base(void) {
    u64 limit[2] = {BASE_MAX, BASE_MAX};
    SYS2(__NR_getrlimit, RLIMIT_NOFILE, limit);
    u64 most = min_u64(limit[0], BASE_MAX);
    return (u32)max_u64(most > 2 * BASE_ROOM ? most - BASE_ROOM : most / 2, BASE_STEP) / BASE_STEP * BASE_STEP;
}

static void choose_file_rules(void) {
    files_base = choose_files_base();
    const struct rule probe = {BASE_PROBE, ANSWER, 0, TOLD + files_base / BASE_STEP};
    choose_all(file_rules, FILE_RULES);
    choose(&probe);
}

/* First of their numbers' rules: a shielded tree sees these calls whatever else it wants of them. */
static void choose_shield_rules(void) {
    /* Two processes with the same descriptors would each know which of its own are shielded, and not of the other's. */
    choose_first(&(struct rule){__NR_clone, ANSWER_IF_SHARED, 0, EINVAL});
    for (u16 i = 0; i < shield_rule_count; i++) choose_first(&(struct rule){shield_rules[i].number, ALWAYS, 0, 0});
}

static void start_building(void) {
    length = chosen_count = 0;
    load(offsetof(struct seccomp_data, arch));
    jump_if_equal(AUDIT_ARCH_X86_64, 1, 0);
    give(SECCOMP_RET_KILL_PROCESS); /* 32-bit system calls would bypass the rules */
    load(offsetof(struct seccomp_data, nr));
    emit(BPF_JMP | BPF_JGE | BPF_K, 0, 1, 0x40000000); /* x32 */
    emit_answer(ENOSYS);
}

static void finish_building(void) {
    emit_tree(0, chosen_count);
    for (u16 i = 0; i < length; i++)
        if (program[i].code == (BPF_JMP | BPF_JA) && program[i].k == TO_INTERCEPT) program[i].k = (u32)(length - i - 1);
    emit_unless_gate(SECCOMP_RET_TRAP);
}

static void build(struct filter_wishes wishes) {
    start_building();
    if (wishes.files) choose_file_rules();
    choose_all(rules, RULES);
    if (wishes.observed || wishes.shield) choose(&exit_rule);
    if (wishes.memory_limited) choose_all(identity_rules, IDENTITY_RULES);
    if (wishes.opens) choose_all(opening_rules, OPENING_RULES);
    if (wishes.shield) choose_shield_rules();
    finish_building();
}

bool filter_is_installed(void) {
    return SYS0(CLOISTER_FILTER_PROBE_NR) == -(CLOISTER_FILTER_PROBE_BASE + CLOISTER_ABI_VERSION);
}

static long install(u64 flags) {
    struct {
        u16 length;
        struct sock_filter *program;
    } wanted = {length, program};
    return SYS3(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW | flags, &wanted);
}

void filter_install(struct filter_wishes wishes) {
    build(wishes);
    SYS5(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    long error = install(0);
    if (failed(error))
        fail(CLOISTER_EXIT_CANNOT_PROTECT, "a seccomp filter could not be installed", error,
             "use a kernel with CONFIG_SECCOMP_FILTER; in a container: --security-opt seccomp=unconfined");
}

u32 filter_files_base(void) {
    long told = -SYS0(BASE_PROBE) - TOLD;
    return told > 0 ? (u32)told * BASE_STEP : 0;
}

u32 filter_base_to_be(void) {
    u32 base = filter_files_base();
    return base ? base : choose_files_base();
}

static void build_wide(void) {
    const struct rule probe = {WIDE_PROBE, ANSWER, 0, TOLD};
    start_building();
    choose_all(wide_rules, WIDE_RULES);
    choose(&probe);
    finish_building();
}

/* All threads get it. Stands under the lock, which also keeps `program`; in a vfork child too. */
bool filter_widen(void) {
    if (SYS0(WIDE_PROBE) == -TOLD) return true;
    build_wide();
    return install(SECCOMP_FILTER_FLAG_TSYNC) == 0;
}
