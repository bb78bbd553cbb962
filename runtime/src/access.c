/* The kernel is asked by a call without effect: rt_sigprocmask(2) reads 8 bytes before it looks at a nonsensical `how`, and
 * writes the current mask. Aligned words never cross a page. Both work on secret memory. */
#include "access.h"

enum { NONSENSE = 99, WORD = 8 };

static u64 word_of(u64 address) { return address & ~(u64)(WORD - 1); }

/* The word at 0 is no word to the kernel: it would not look. */
static bool word_is_readable(u64 word) { return word && SYS4(__NR_rt_sigprocmask, NONSENSE, word, 0, WORD) != -EFAULT; }

static bool word_is_writable(u64 word) {
    u64 kept;
    if (!word_is_readable(word)) return false;
    memcpy(&kept, ptr_of(word), WORD);
    if (failed(SYS4(__NR_rt_sigprocmask, 0, 0, word, WORD))) return false;
    memcpy(ptr_of(word), &kept, WORD);
    return true;
}

bool can_read(u64 address, u64 length) {
    return word_is_readable(word_of(address)) && word_is_readable(word_of(address + length - 1));
}

bool can_write(u64 address, u64 length) {
    return word_is_writable(word_of(address)) && word_is_writable(word_of(address + length - 1));
}
