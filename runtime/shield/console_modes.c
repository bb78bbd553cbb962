#include "console_modes.h"

#include <asm/termbits.h>

#include "console.h"
#include "guard_words.h"

enum { INPUT_BITS = 15, OUTPUT_BITS = 16, LOCAL_BITS = 17, BYTE = 8 };
enum { OUTPUT_AT = INPUT_BITS, LOCAL_AT = OUTPUT_AT + OUTPUT_BITS, LEAST_AT = LOCAL_AT + LOCAL_BITS, TENTHS_AT = LEAST_AT + BYTE };

/* As the kernel has a new terminal (tty_std_termios), and UTF-8. */
static const struct modes standard = {
    .input = ICRNL | IXON | IUTF8, .output = OPOST | ONLCR, .local = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN, .least = 1,
};

static u64 cut(u64 value, u32 bits) { return value & ((1UL << bits) - 1); }

static u64 packed(const struct modes *modes) {
    return cut(modes->input, INPUT_BITS) | cut(modes->output, OUTPUT_BITS) << OUTPUT_AT | cut(modes->local, LOCAL_BITS) << LOCAL_AT |
           (u64)modes->least << LEAST_AT | (u64)modes->tenths << TENTHS_AT;
}

/* The guard's word begins as 0, which stands for the standard. */
static u64 word_of(const struct modes *modes) { return packed(modes) ^ packed(&standard); }

long modes_get(struct modes *modes) {
    u64 word;
    long error = guard_add(WORD_MODES, 0, &word);
    if (failed(error)) return error;
    word ^= packed(&standard);
    modes->input = (u32)cut(word, INPUT_BITS);
    modes->output = (u32)cut(word >> OUTPUT_AT, OUTPUT_BITS);
    modes->local = (u32)cut(word >> LOCAL_AT, LOCAL_BITS);
    modes->least = (u8)(word >> LEAST_AT);
    modes->tenths = (u8)(word >> TENTHS_AT);
    return 0;
}

long modes_set(const struct modes *modes) {
    u64 before, wanted = word_of(modes);
    long error = guard_add(WORD_MODES, 0, &before);
    while (!failed(error)) {
        u64 expected = before;
        error = guard_add_if(WORD_MODES, expected, wanted - expected, &before);
        if (!failed(error)) return 0;
        if (error == -EAGAIN) error = 0; /* somebody else set them meanwhile */
    }
    return error;
}

bool modes_are_canonical(const struct modes *modes) { return modes->local & ICANON; }
