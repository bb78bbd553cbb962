/* Arguments and environment go to the new image by handoff_write, not through the kernel. May run in a vfork child: exec.c. */
#include "exec_image.h"

#include <linux/mman.h>

#include "../shield/shield.h"
#include "access.h"
#include "handoff.h"
#include "secret.h"
#include "state.h"

enum { OWN_WORDS = 11, ON_STACK = 256, SET_MASK = 2, OPTION_ROOM = OPTION_SIZE + 32, NUMBER_ROOM = 40 };

/* The new program inherits the signal mask, so the program's own must be in force, not the handler's. */
static void use_program_mask(const struct call *call) {
    if (!call->frame) return;
    u64 mask = call->frame->signals & ~SIGSYS_BIT;
    SYS4(__NR_rt_sigprocmask, SET_MASK, &mask, 0, 8);
}

static void use_handler_mask(const struct call *call) {
    u64 all = ~SIGSYS_BIT;
    if (call->frame) SYS4(__NR_rt_sigprocmask, SET_MASK, &all, 0, 8);
}

long execute_in_kernel(const struct call *call, const char *path, char *const *words, char *const *environment) {
    use_program_mask(call);
    long error = SYS3(__NR_execve, path, words, environment);
    use_handler_mask(call);
    return error;
}

/* Tried by link first: it is this very file even if the path now leads to another. */
static long execute_runtime(const struct call *call, char *const *words, char *const *environment) {
    long error = execute_in_kernel(call, "/proc/self/exe", words, environment);
    return error == -ENOENT ? execute_in_kernel(call, state.runtime, words, environment) : error;
}

static char *option(char *buffer, const char *name, const char *value) {
    append(buffer, append(buffer, 0, OPTION_ROOM, name), OPTION_ROOM, value);
    return buffer;
}

static char *number_option(char *buffer, const char *name, u64 value) {
    append_number(buffer, append(buffer, 0, NUMBER_ROOM, name), NUMBER_ROOM, value);
    return buffer;
}

/* What stands in front of the program on the command line of the runtime's new image; the number of words. `room` holds three
 * options; it is not used if nobody observes. */
static u64 fill_options(char **words, char *room) {
    u64 n = 0;
    words[n++] = (char *)"cloister-enclave";
    if (state.checkpoint[0]) words[n++] = option(room, CLOISTER_OPTION_CHECKPOINT, state.checkpoint);
    if (state.report[0]) words[n++] = option(room + OPTION_ROOM, CLOISTER_OPTION_REPORT, state.report);
    if (state.learn[0]) words[n++] = option(room + 2 * OPTION_ROOM, CLOISTER_OPTION_LEARN, state.learn);
    if (state.unsafe_no_guard) words[n++] = (char *)CLOISTER_OPTION_UNSAFE_NO_GUARD;
    return n;
}

static u64 option_room(void) { return state.checkpoint[0] || state.report[0] || state.learn[0] ? 3 * OPTION_ROOM : 1; }

static const char *base_name(const char *path) {
    const char *base = path;
    for (const char *at = path; *at; at++)
        if (*at == '/' && at[1]) base = at + 1;
    return base;
}

/* The kernel, and so everybody, sees the program's path and a name for ps(1), which is not argument 0: that may be a secret too.
 * Both are for people: the block says what is executed. */
static long execute_sealed(const struct call *call, const struct image *image) {
    char *words[OWN_WORDS], number[NUMBER_ROOM], *nothing = NULL;
    long fd = handoff_write(image);
    if (failed(fd)) return fd;
    u64 n = fill_options(words, __builtin_alloca(option_room()));
    words[n++] = number_option(number, CLOISTER_OPTION_HANDOFF_FD, (u64)fd);
    words[n++] = (char *)"--";
    words[n++] = (char *)image->path;
    words[n++] = (char *)base_name(image->path);
    words[n] = NULL;
    long error = execute_runtime(call, words, &nothing);
    SYS1(__NR_close, fd);
    return error;
}

static long execute_words(const struct call *call, const struct image *image, char **words) {
    char *const *argument = image->arguments;
    char number[NUMBER_ROOM];
    u64 n = fill_options(words, __builtin_alloca(option_room()));
    if (image->program_fd >= 0) words[n++] = number_option(number, CLOISTER_OPTION_PROGRAM_FD, (u64)image->program_fd);
    words[n++] = (char *)"--";
    words[n++] = (char *)image->path;
    if (!argument || !*argument) words[n++] = (char *)"";
    for (; argument && *argument; argument++) words[n++] = *argument;
    words[n] = NULL;
    return execute_runtime(call, words, image->environment);
}

/* How many there are, or -EFAULT: a page is tried before it is read. */
static long count_words(char *const *list) {
    u64 known = 0;
    for (long n = 0; list; n++) {
        u64 last = addr_of(list + n) + sizeof *list - 1;
        if (page_down(last) != known && !can_read(addr_of(list + n), sizeof *list)) return -EFAULT;
        known = page_down(last);
        if (!list[n]) return n;
    }
    return 0;
}

/* Without a guard nobody could give a key to the new image, without a key it could not be given anything: arguments and environment stand in the kernel's memory for exec. */
static long execute_unsafe(const struct call *call, const struct image *image) {
    long count = count_words(image->arguments);
    if (failed(count)) return count;
    u64 size = ((u64)count + OWN_WORDS) * sizeof(char *);
    if (size <= ON_STACK * sizeof(char *)) return execute_words(call, image, __builtin_alloca(size));
    /* In a vfork child this mapping stays with the parent: the price for long argument lists. */
    long words = secret_map(0, page_up(size), PROT_READ | PROT_WRITE, 0);
    if (failed(words)) return -E2BIG;
    long error = execute_words(call, image, ptr_of((u64)words));
    SYS2(__NR_munmap, words, page_up(size));
    return error;
}

/* With shields there is always a guard, and a key. */
long execute_image(const struct call *call, const struct image *image) {
    long error = shield_before_exec();
    if (failed(error)) return error;
    error = state.unsafe_no_guard || state.keyless ? execute_unsafe(call, image) : execute_sealed(call, image);
    shield_exec_failed();
    return error;
}
