/* execve(2): the kernel executes this runtime, which loads the program. What the kernel would refuse is refused before, for
 * after that there is no way back. Arguments and environment go by handoff_write, not through the kernel. May run in a vfork child, on a small stack shared with nobody but in memory shared with the
 * parent: no state is written, and stack is used sparingly. */
#include <asm/stat.h>
#include <linux/mman.h>

#include "access.h"
#include "call.h"
#include "handoff.h"
#include "image.h"
#include "program.h"
#include "secret.h"
#include "state.h"

enum { AT_NO_FOLLOW = 0x100, OPEN_PATH = 010000000, NO_FOLLOW = 0400000, TYPE_MASK = 0170000, SYMBOLIC_LINK = 0120000 };
enum { OWN_WORDS = 11, ON_STACK = 256, SET_MASK = 2, OPTION_ROOM = OPTION_SIZE + 32 };

struct image { /* what the program asked for */
    char *program_fd; /* the option, or NULL: `path` is to be opened */
    const char *path;
    char *const *arguments, *const *environment;
};

static u64 count_words(char *const *list) {
    u64 n = 0;
    while (list && list[n]) n++;
    return n;
}

static bool is_this_runtime(int fd) {
    struct stat target, own;
    if (failed(SYS2(__NR_fstat, fd, &target)) || failed(SYS2(__NR_stat, "/proc/self/exe", &own))) return false;
    return target.st_dev == own.st_dev && target.st_ino == own.st_ino;
}

/* Tried by link first: it is this very file even if the path now leads to another. */
static long execute_runtime(char *const *words, char *const *environment) {
    long error = SYS3(__NR_execve, "/proc/self/exe", words, environment);
    return error == -ENOENT ? SYS3(__NR_execve, state.runtime, words, environment) : error;
}

static char *option(char *buffer, const char *name, const char *value) {
    append(buffer, append(buffer, 0, OPTION_ROOM, name), OPTION_ROOM, value);
    return buffer;
}

/* What stands in front of the program on the command line of the runtime's new image; the number of words. `room` holds three
 * options; it is not used if nobody observes. */
static u64 fill_options(char **words, char *room, const struct image *image) {
    u64 n = 0;
    words[n++] = (char *)"cloister-enclave";
    if (state.checkpoint[0]) words[n++] = option(room, CLOISTER_OPTION_CHECKPOINT, state.checkpoint);
    if (state.report[0]) words[n++] = option(room + OPTION_ROOM, CLOISTER_OPTION_REPORT, state.report);
    if (state.learn[0]) words[n++] = option(room + 2 * OPTION_ROOM, CLOISTER_OPTION_LEARN, state.learn);
    if (state.unsafe_no_guard) words[n++] = (char *)CLOISTER_OPTION_UNSAFE_NO_GUARD;
    if (image->program_fd) words[n++] = image->program_fd;
    return n;
}

static u64 option_room(void) { return state.checkpoint[0] || state.report[0] || state.learn[0] ? 3 * OPTION_ROOM : 1; }

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

static long execute_under_program_mask(const struct call *call, char *const *words, char *const *environment) {
    use_program_mask(call);
    long error = execute_runtime(words, environment);
    use_handler_mask(call);
    return error;
}

static const char *base_name(const char *path) {
    const char *base = path;
    for (const char *at = path; *at; at++)
        if (*at == '/' && at[1]) base = at + 1;
    return base;
}

/* The kernel, and so everybody, sees the program's path and a name for ps(1), which is not argument 0: that may be a secret too. */
static long execute_sealed(const struct call *call, const struct image *image) {
    char *words[OWN_WORDS], number[40], *nothing = NULL;
    long fd = handoff_write(image->arguments, image->environment);
    if (failed(fd)) return fd;
    u64 n = fill_options(words, __builtin_alloca(option_room()), image);
    append_number(number, append(number, 0, sizeof number, CLOISTER_OPTION_HANDOFF_FD), sizeof number, (u64)fd);
    words[n++] = number;
    words[n++] = (char *)"--";
    words[n++] = (char *)image->path;
    words[n++] = (char *)base_name(image->path);
    words[n] = NULL;
    long error = execute_under_program_mask(call, words, &nothing);
    SYS1(__NR_close, fd);
    return error;
}

static long execute_words(const struct call *call, const struct image *image, char **words) {
    char *const *argument = image->arguments;
    u64 n = fill_options(words, __builtin_alloca(option_room()), image);
    words[n++] = (char *)"--";
    words[n++] = (char *)image->path;
    if (!argument || !*argument) words[n++] = (char *)"";
    for (; argument && *argument; argument++) words[n++] = *argument;
    words[n] = NULL;
    return execute_under_program_mask(call, words, image->environment);
}

/* Without a guard nobody could give a key to the new image: arguments and environment stand in the kernel's memory for exec. */
static long execute_unsafe(const struct call *call, const struct image *image) {
    u64 size = (count_words(image->arguments) + OWN_WORDS) * sizeof(char *);
    if (size <= ON_STACK * sizeof(char *)) return execute_words(call, image, __builtin_alloca(size));
    /* In a vfork child this mapping stays with the parent: the price for long argument lists. */
    long words = secret_map(0, page_up(size), PROT_READ | PROT_WRITE, 0);
    if (failed(words)) return -E2BIG;
    long error = execute_words(call, image, ptr_of((u64)words));
    SYS2(__NR_munmap, words, page_up(size));
    return error;
}

static long execute_program(const struct call *call, const struct image *image) {
    return state.unsafe_no_guard ? execute_unsafe(call, image) : execute_sealed(call, image);
}

/* A program that executes the runtime by itself starts an enclave of its own choice (cloister run inside an enclave): with the words
 * that it gave, in the kernel's memory as for every enclave's start. The guard gives it the tree's key, as it is of the tree. */
static long execute_given_runtime(const struct call *call, const char *path) {
    use_program_mask(call);
    long error = SYS3(__NR_execve, path, call->arg[1], call->arg[2]);
    use_handler_mask(call);
    return error;
}

long execute(struct call *call) {
    const char *path = ptr_of(call->arg[0]);
    char *const *arguments = ptr_of(call->arg[1]), *const *environment = ptr_of(call->arg[2]);
    if (!can_read(addr_of(path), 1)) return -EFAULT;
    if (arguments && !can_read(addr_of(arguments), sizeof *arguments)) return -EFAULT;
    if (path_is_own_exe(path)) path = state.program;
    long fd = program_open(path);
    if (failed(fd)) return fd;
    bool runtime = is_this_runtime((int)fd);
    long error = program_check((int)fd);
    SYS1(__NR_close, fd);
    if (failed(error)) return error;
    const struct image image = {.path = path, .arguments = arguments, .environment = environment};
    return runtime ? execute_given_runtime(call, path) : execute_program(call, &image);
}

/* An open file, which may have no path any more, or only O_PATH: opened anew through /proc, with execve's checks. The new image
 * gets the descriptor, which stays open until it has read it. `name` is what a script's interpreter gets to open. */
static long execute_descriptor(struct call *call, int file, const char *name) {
    char number[40], link[40];
    long known = SYS2(__NR_fcntl, file, 1 /* F_GETFD */);
    if (failed(known)) return known;
    append_number(link, append(link, 0, sizeof link, "/proc/self/fd/"), sizeof link, (u64)file);
    long opened = program_open(link);
    if (failed(opened)) return opened;
    long fd = SYS3(__NR_fcntl, opened, 0 /* F_DUPFD: not close-on-exec */, 3);
    SYS1(__NR_close, opened);
    if (failed(fd)) return fd;
    long error = program_check((int)fd);
    append_number(number, append(number, 0, sizeof number, CLOISTER_OPTION_PROGRAM_FD), sizeof number, (u64)fd);
    struct image image = {.program_fd = number, .path = name, .arguments = ptr_of(call->arg[2]), .environment = ptr_of(call->arg[3])};
    if (!failed(error)) error = execute_program(call, &image);
    SYS1(__NR_close, fd);
    return error;
}

/* "/dev/fd/DIRECTORY" or "/dev/fd/DIRECTORY/path", as the kernel names such programs (fs/exec.c, alloc_bprm). */
static char *descriptor_name(char *to, size_t size, int directory, const char *path) {
    size_t at = append_number(to, append(to, 0, size, "/dev/fd/"), size, (u64)directory);
    if (*path) append(to, append(to, at, size, "/"), size, path);
    return to;
}

static long execute_relative(struct call *call, int directory, const char *path, bool follow) {
    long fd = SYS3(__NR_openat, directory, path, OPEN_PATH | CLOSE_ON_EXEC | (follow ? 0 : NO_FOLLOW));
    if (failed(fd)) return fd;
    struct stat info;
    bool is_link = !failed(SYS2(__NR_fstat, fd, &info)) && (info.st_mode & TYPE_MASK) == SYMBOLIC_LINK;
    size_t size = strlen(path) + 32;
    char *name = directory == AT_HERE || *path == '/' ? (char *)path : descriptor_name(__builtin_alloca(size), size, directory, path);
    long error = is_link ? -ELOOP : execute_descriptor(call, (int)fd, name);
    SYS1(__NR_close, fd);
    return error;
}

long execute_at(struct call *call) {
    const char *path = ptr_of(call->arg[1]);
    int directory = (int)call->arg[0], flags = (int)call->arg[4];
    char name[32];
    if (flags & ~(AT_EMPTY | AT_NO_FOLLOW)) return -EINVAL;
    if (!can_read(addr_of(path), 1)) return -EFAULT;
    if (!*path) return flags & AT_EMPTY ? execute_descriptor(call, directory, descriptor_name(name, sizeof name, directory, "")) : -ENOENT;
    if (!(flags & AT_NO_FOLLOW) && (*path == '/' || directory == AT_HERE)) {
        struct call plain = *call;
        plain.number = __NR_execve;
        memcpy(plain.arg, call->arg + 1, 3 * sizeof(u64));
        return execute(&plain);
    }
    return execute_relative(call, directory, path, !(flags & AT_NO_FOLLOW));
}
