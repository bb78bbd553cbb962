/* From the kernel's entry to the program's, in this order, so that no secret is in memory before it is protected:
 *
 * 1. The runtime's data goes into secret memory, its text behind a seal; it goes on on a stack of its own.
 * 2. Options are read.
 * 3. The guards are started (in a program executed from an enclave they hold already). While they take hold, what is public is
 *    done: memory is reserved, and program and interpreter are loaded if the command line alone says which they are.
 * 4. The guards hold. Arguments and environment move into secret memory; the observer may look; the kernel's copy is wiped.
 * 5. Program and interpreter are loaded, if they were not.
 * 6. The SIGSYS handler and the filter are installed, and the program is entered.
 */
#include "start_load.h"

#include <linux/auxvec.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/sched.h>

#include "../shield/shield.h"
#include "admission.h"
#include "call.h"
#include "fail.h"
#include "files.h"
#include "filter.h"
#include "guard.h"
#include "handoff.h"
#include "manifest.h"
#include "memory.h"
#include "observer.h"
#include "opening.h"
#include "process.h"
#include "program.h"
#include "provision.h"
#include "state.h"
#include "window.h"

extern const char rt_sigsys_entry[], rt_sigreturn[];
__attribute__((noreturn)) void rt_enter_program(u64 stack, u64 entry);
__attribute__((noreturn)) void rt_switch_stack(void *stack_top, void (*fn)(void *), void *arg);

enum { FILE_LEAST = 16 << 20, START_STACK = 64 << 10, SIGINFO = 4, RESTORER = 0x04000000, ON_STACK = 0x08000000, NO_DEFER = 0x40000000 };
enum { GET_AUXILIARY = 0x41555856 /* PR_GET_AUXV */, AUXILIARY_WORDS = 128 };

static u8 start_stack[START_STACK] __attribute__((aligned(PAGE))) BEHIND;

static struct words words_at(char **list) {
    struct words words = {.word = list};
    while (list[words.count]) words.count++;
    return words;
}

static struct kernel_stack read_kernel_stack(u64 *pointer) {
    struct kernel_stack stack = {.pointer = addr_of(pointer)};
    stack.arguments = (struct words){.count = pointer[0], .word = (char **)(pointer + 1)};
    stack.environment = words_at((char **)(pointer + 1 + pointer[0] + 1));
    stack.auxiliary = (u64 *)(stack.environment.word + stack.environment.count + 1);
    return stack;
}

static u64 auxiliary_value(const u64 *auxiliary, u64 key) {
    for (; auxiliary[0] != AT_NULL; auxiliary += 2)
        if (auxiliary[0] == key) return auxiliary[1];
    return 0;
}

/* Children that give up their capabilities must still be able to have secret memory. */
static void lift_memory_limit(void) {
    const u64 unlimited[2] = {~0UL, ~0UL};
    u64 limit[2];
    if (!failed(SYS2(__NR_setrlimit, RLIMIT_MEMLOCK, unlimited))) return;
    if (failed(SYS2(__NR_getrlimit, RLIMIT_MEMLOCK, limit)) || limit[1] == ~0UL) return;
    state.memory_limited = true;
    limit[0] = limit[1];
    SYS2(__NR_setrlimit, RLIMIT_MEMLOCK, limit);
}

/* RLIMIT_FSIZE holds for secret inodes and sealed text too: beyond it the kernel sends SIGXFSZ. */
static void require_file_size(void) {
    u64 limit[2] = {~0UL, ~0UL};
    SYS2(__NR_getrlimit, RLIMIT_FSIZE, limit);
    if (limit[0] < FILE_LEAST)
        fail(CLOISTER_EXIT_CANNOT_PROTECT, "the file-size limit (RLIMIT_FSIZE) leaves no room for secret memory", 0,
             "ulimit -f unlimited   (or at least 16 MiB)");
}

/* The first program of a strict enclave is what its evidence names; a later one that was given as a descriptor is a sealed copy. */
static int open_measured(const char *path, int given_fd) {
    admission_begin();
    if (state.root_program[0] && given_fd < 0) return given_fd;
    long fd = state.root_program[0] ? admission_adopt(given_fd) : admission_open_program(path);
    if (failed(fd)) refuse_program(path, fd);
    return (int)fd;
}

/* The path that scripts are given to their interpreters by: in a strict enclave the one that was measured, not one that starts from
 * a working directory, which the host can rename between measuring and reading. */
static const char *measured_path(struct program_stack *stack, const char *path, bool first) {
    static char name[PATH_SIZE] BEHIND;
    if (!admission_is_strict() || (!first && *path == '/')) return path;
    const char *chosen = first ? state.root_program : path_normalise(AT_HERE, path, name, sizeof name) ? name : path;
    return stack_push(stack, chosen, strlen(chosen));
}

static void set_name(const char *path) {
    const char *base = path;
    for (const char *at = path; *at; at++)
        if (*at == '/') base = at + 1;
    SYS2(__NR_prctl, PR_SET_NAME, base);
}

/* The name stays, so that ps(1) shows what runs; arguments, variables and the auxiliary vector go. This thread has left that
 * stack for one of its own. */
static void wipe_kernel_stack(const struct kernel_stack *stack, const char *name) {
    const struct words *last = stack->environment.count ? &stack->environment : &stack->arguments;
    char *start = stack->arguments.word[0], *final = last->word[last->count - 1];
    u64 end = addr_of(final) + strlen(final);
    u64 length = end - addr_of(start), kept = min_u64(strlen(name), length);
    memset(start, 0, length);
    memcpy(start, name, kept);
    u64 page = page_down(addr_of(start)), below = page_down(stack->pointer) - (1UL << 20);
    memset(ptr_of(page), 0, addr_of(start) - page);
    SYS2(__NR_munmap, below, page - below);
}

static void install_handler(void) {
    const u64 action[4] = {addr_of(rt_sigsys_entry), SIGINFO | RESTORER | ON_STACK | NO_DEFER, addr_of(rt_sigreturn), ~SIGSYS_BIT};
    const u64 unblock = SIGSYS_BIT;
    require(SYS4(__NR_rt_sigaction, SIGSYS_NUMBER, action, 0, 8), "no SIGSYS handler");
    SYS4(__NR_rt_sigprocmask, 1, &unblock, 0, 8);
}

static void prepare_memory(void) {
    require(window_reserve(), "no address space for the program's memory (ulimit -v?)");
    require(memory_start_break(), "no address space for the heap");
    long words = SYS6(__NR_mmap, 0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    require(words, "no shared page for futexes");
    state.shared_words = ptr_of((u64)words);
}

/* Argv and environment, from whoever has them: the program that executed this one, the broker, an observer's pipe, or the kernel.
 * A program that gets secrets is opened and measured before. */
static void take_words(struct program_stack *stack, struct options *options, const struct kernel_stack *kernel) {
    if (!state.attester[0] || options->handoff_fd >= 0) {
        stack_take_words(stack, options, &kernel->environment);
        return;
    }
    provision_begin();
    options->program_fd = open_measured(options->program, options->program_fd);
    provision_finish(stack, &options->arguments);
}

/* Step 3. What an enclave executes is guarded already, and must have the key of its tree: its own children need it too. Returns
 * whether guards take hold meanwhile, to be awaited. */
static bool join_tree(bool executed, const struct kernel_stack *kernel, const struct options *options) {
    state.handoff_required = options->manifest_fd >= 0 || state.attester[0] || options->shielded;
    if (state.unsafe_no_guard) {
        if (executed) handoff_do_without_key();
        if (options->handoff_fd >= 0) fail(CLOISTER_EXIT_USAGE, "without a guard there is no key for --handoff-fd", 0, NULL);
        return false;
    }
    if (executed) {
        guard_require();
        handoff_take_key(options->handoff_fd >= 0);
        return false;
    }
    SYS1(__NR_unshare, CLONE_FS); /* whoever shares a working directory with this process could change it */
    handoff_make_key();
    guard_begin(kernel->pointer);
    return true;
}

/* Whether the command line alone says what is loaded, and how: nothing is measured, learned, injected or handed on. */
static bool may_load_early(const struct options *options) {
    bool told_later = options->handoff_fd >= 0 || options->start_fd >= 0 || options->manifest_fd >= 0 || state.attester[0];
    return !told_later && options->program_fd < 0 && !state.learn[0];
}

/* What everybody may see of the program: the interpreter of a script, or the word after its path on the runtime's command line.
 * True argument 0 of an executed program stands in its sealed block, and only there. */
static const char *public_name(struct program_stack *stack, const char *path, const struct options *options) {
    const char *word = options->arguments.word[0];
    return path == stack->arguments.word[0] ? path : stack_push(stack, word, strlen(word));
}

/* The auxiliary vector as the kernel keeps it, for what it put on the stack can be changed by now. Before Linux 6.4 that is all
 * there is. */
static u64 *true_auxiliary(u64 *on_stack) {
    static u64 vector[AUXILIARY_WORDS];
    long size = SYS5(__NR_prctl, GET_AUXILIARY, vector, sizeof vector, 0, 0);
    if (failed(size) || (u64)size > sizeof vector) return on_stack;
    if (auxiliary_value(vector, AT_SYSINFO_EHDR) != state.vdso)
        fail(CLOISTER_EXIT_CANNOT_PROTECT, "the auxiliary vector was changed on the way", 0, NULL);
    return vector;
}

/* Steps 2 to 6. */
static void start_program(void *arg) {
    struct kernel_stack kernel = read_kernel_stack(arg);
    kernel.auxiliary = true_auxiliary(kernel.auxiliary);
    struct options options;
    struct program_stack stack;
    struct program program;
    bool executed = filter_is_installed();
    options_parse(&kernel, &options);
    resolve_link("/proc/self/exe", state.runtime);
    lift_memory_limit();
    bool guarding = join_tree(executed, &kernel, &options);
    prepare_memory();
    stack_create(&stack);
    options.program = stack_push(&stack, options.program, strlen(options.program)); /* the kernel's copy may change */
    bool loaded = guarding && may_load_early(&options) && load_early(options.program, &program);
    if (guarding) guard_await();
    process_forbid_core_dumps();
    if (options.manifest_fd >= 0) manifest_take(options.manifest_fd);
    bool provisioned = state.attester[0];
    take_words(&stack, &options, &kernel);
    files_begin();
    shield_begin();
    const char *path = options.program;
    set_name(path);
    if (!loaded) copy_bounded(state.program, PATH_SIZE, path);
    observer_checkpoint("start");
    bool first = provisioned || !state.root_program[0]; /* else the sealed block said which program is the tree's */
    int fd = state.manifest.size ? open_measured(path, options.program_fd) : options.program_fd;
    path = measured_path(&stack, path, first);
    if (!loaded) {
        path = follow_scripts(&stack, path, &fd);
        load_program(path, fd, &program);
    }
    const char *name = public_name(&stack, path, &options);
    lay_out(&stack, path, &program, kernel.auxiliary);
    wipe_kernel_stack(&kernel, name);
    install_handler();
    struct filter_wishes wishes = {.observed = state.checkpoint[0] || state.report[0], .memory_limited = state.memory_limited,
                                  .opens = opening_is_watched(), .files = state.files_watched || shield_is_on(), .shield = shield_is_on()};
    bool inherited = executed && options.handoff_fd >= 0; /* whoever starts a runtime by its path may wish for more than it stands under */
    if (!inherited) filter_install(wishes);
    rt_enter_program(stack.top, program_entry(&program));
}

void start_main(u64 *kernel_stack); /* called by _start */

__attribute__((used)) void start_main(u64 *kernel_stack) {
    struct kernel_stack kernel = read_kernel_stack(kernel_stack);
    require_file_size();
    process_harden(auxiliary_value(kernel.auxiliary, AT_SYSINFO_EHDR));
    rt_switch_stack(start_stack + START_STACK, start_program, kernel_stack);
}
