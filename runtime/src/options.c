#include "fail.h"
#include "start.h"
#include "state.h"

static __attribute__((noreturn)) void usage(const char *what) {
    fail(CLOISTER_EXIT_USAGE, what, 0, "cloister run -- PROGRAM [ARGS]   starts this runtime with the right options");
}

static const char *value_of(const char *word, const char *name) {
    return starts_with(word, name) ? word + strlen(name) : NULL;
}

static int descriptor(const char *digits) {
    int value = 0;
    if (!*digits) usage("a descriptor option has no number");
    for (; *digits; digits++) {
        if (*digits < '0' || *digits > '9' || value > 1 << 20) usage("a descriptor option is not a number");
        value = value * 10 + (*digits - '0');
    }
    return value;
}

static void keep(char *to, const char *value) {
    if (strlen(value) >= OPTION_SIZE) usage("an option's path is too long");
    copy_bounded(to, OPTION_SIZE, value);
}

static void parse_one(const char *word, struct options *out) {
    const char *value;
    if ((value = value_of(word, CLOISTER_OPTION_START_FD))) out->start_fd = descriptor(value);
    else if ((value = value_of(word, CLOISTER_OPTION_PROGRAM_FD))) out->program_fd = descriptor(value);
    else if ((value = value_of(word, CLOISTER_OPTION_CHECKPOINT))) keep(state.checkpoint, value);
    else if ((value = value_of(word, CLOISTER_OPTION_REPORT))) keep(state.report, value);
    else if ((value = value_of(word, CLOISTER_OPTION_ATTESTER))) keep(state.attester, value);
    else if ((value = value_of(word, CLOISTER_OPTION_HANDOFF_FD))) out->handoff_fd = descriptor(value);
    else if ((value = value_of(word, CLOISTER_OPTION_MANIFEST_FD))) out->manifest_fd = descriptor(value);
    else if ((value = value_of(word, CLOISTER_OPTION_CONSOLE_FD))) state.console_fd = descriptor(value);
    else if ((value = value_of(word, CLOISTER_OPTION_LEARN))) keep(state.learn, value);
    else if (same_string(word, CLOISTER_OPTION_SHIELD)) out->shielded = true;
    else if (same_string(word, CLOISTER_OPTION_UNSAFE_NO_GUARD)) state.unsafe_no_guard = true;
    else usage("unknown runtime option");
}

void options_parse(const struct kernel_stack *stack, struct options *out) {
    char **word = stack->arguments.word;
    u64 count = stack->arguments.count, i = 1;
    out->shielded = false;
    state.console_fd = -1;
    out->start_fd = out->program_fd = out->handoff_fd = out->manifest_fd = -1;
    while (i < count && !same_string(word[i], "--")) parse_one(word[i++], out);
    if (state.unsafe_no_guard && (state.attester[0] || out->manifest_fd >= 0))
        usage("--unsafe-no-guard excludes --attester and --manifest-fd: nothing would keep executed programs to the manifest");
    if (out->handoff_fd >= 0 && (state.attester[0] || out->manifest_fd >= 0 || out->start_fd >= 0))
        usage("--handoff-fd excludes --attester, --manifest-fd and --start-fd: the block says all that they would");
    if (state.learn[0] && (state.attester[0] || out->manifest_fd >= 0))
        usage("--learn excludes --attester and --manifest-fd: it lets in what a manifest keeps out");
    if (i + 2 >= count) usage("usage: cloister-enclave [OPTIONS] -- PROGRAM_PATH ARGV0 [ARGS...]");
    out->program = word[i + 1];
    out->arguments = (struct words){.count = count - i - 2, .word = word + i + 2};
}
