/* From a path to a program in memory, its stack apart: all of it stands in files that anybody may read. */
#include "start_load.h"

#include <linux/auxvec.h>

#include "admission.h"
#include "fail.h"
#include "program.h"
#include "state.h"
#include "together.h"

enum { OPEN_PATH = 010000000, RANDOM_BYTES = 16 };

#ifndef AT_RSEQ_FEATURE_SIZE
#define AT_RSEQ_FEATURE_SIZE 27 /* Linux 6.3 */
#endif

void resolve_link(const char *link, char *to) {
    long n = SYS3(__NR_readlink, link, to, PATH_SIZE - 1);
    to[failed(n) ? 0 : n] = 0;
}

static void resolve_descriptor(int fd, char *to) {
    char link[40];
    append_number(link, append(link, 0, sizeof link, "/proc/self/fd/"), sizeof link, (u64)fd);
    resolve_link(link, to);
}

/* What is loaded is a copy without a name: the file's own is asked for by its path. */
static void resolve_path(const char *path, char *to) {
    long fd = SYS2(__NR_open, path, OPEN_PATH | CLOSE_ON_EXEC);
    if (failed(fd)) return;
    resolve_descriptor((int)fd, to);
    SYS1(__NR_close, fd);
}

void refuse_program(const char *path, long error) {
    if (error == -ENOENT || error == -ENOTDIR) fail_program(CLOISTER_EXIT_NOT_FOUND, path, "not found", NULL);
    if (error == -ENOEXEC)
        fail_program(CLOISTER_EXIT_CANNOT_ENCLAVE, path, "not a 64-bit x86 ELF program or a #! script, so it cannot be enclaved",
                     "file PROGRAM says what it is; 32-bit programs are not supported");
    if (error == -ELIBBAD) fail_program(CLOISTER_EXIT_CANNOT_ENCLAVE, path, "its ELF headers contradict each other", NULL);
    if (error == -EFBIG) fail_program(CLOISTER_EXIT_CANNOT_ENCLAVE, path, "its ELF headers ask for more memory than there are addresses", NULL);
    if (error == -EEXIST)
        fail_program(CLOISTER_EXIT_CANNOT_ENCLAVE, path, "its fixed addresses are taken (by the runtime itself, for one)",
                     "build it position-independent: cc -fPIE -pie");
    if (error == -ENOMEM || error == -EAGAIN) fail_secret_memory(error);
    if (admission_has_spoken()) SYS1(__NR_exit_group, CLOISTER_EXIT_NOT_EXECUTABLE);
    fail_program(CLOISTER_EXIT_NOT_EXECUTABLE, path, "may not be read and executed", "chmod a+rx PROGRAM");
}

static int open_elf(const char *path, int given_fd) {
    long fd = given_fd >= 0 ? given_fd : program_open(path);
    long error = failed(fd) ? fd : elf_read((int)fd, &elf_scratch);
    if (failed(error)) refuse_program(path, error);
    return (int)fd;
}

/* Follows `#!` lines, adding what they say to the arguments. Returns the path of the program proper. */
const char *follow_scripts(struct program_stack *stack, const char *path, int *fd) {
    for (int depth = 0;; depth++) {
        struct script_line line;
        long opened = *fd >= 0 ? *fd : program_open(path);
        long script = failed(opened) ? opened : program_script((int)opened, &line);
        if (failed(script)) refuse_program(path, script);
        if (script == 0) {
            *fd = (int)opened;
            return path;
        }
        if (depth >= SCRIPT_DEPTH) refuse_program(path, -ENOEXEC);
        stack_insert_script(stack, line.interpreter, line.argument, path);
        path = stack->arguments.word[0];
        SYS1(__NR_close, opened);
        *fd = -1;
    }
}

static void load_file(const char *path, int fd, struct loaded *out) {
    long error = load_image(fd, &elf_scratch, out);
    if (failed(error)) refuse_program(path, error);
    SYS1(__NR_close, fd);
}

void load_program(const char *path, int given_fd, struct program *program) {
    *program = (struct program){0};
    int fd = open_elf(path, given_fd);
    if (elf_scratch.executable_stack)
        fail_program(CLOISTER_EXIT_CANNOT_ENCLAVE, path, "it asks for an executable stack (PT_GNU_STACK), which secret memory cannot be",
                     "link it with -z noexecstack, or clear the mark: execstack -c PROGRAM");
    if (state.manifest.size) resolve_path(path, state.program);
    else resolve_descriptor(fd, state.program);
    load_file(path, fd, &program->own);
    if (!elf_scratch.interpreter[0]) return;
    char interpreter[INTERPRETER_SIZE];
    copy_bounded(interpreter, sizeof interpreter, elf_scratch.interpreter);
    fd = open_elf(interpreter, -1);
    load_file(interpreter, fd, &program->interpreter);
}

bool load_early(const char *path, struct program *program) {
    struct script_line line;
    long fd = program_open(path);
    if (failed(fd)) return false;
    bool plain = program_script((int)fd, &line) == 0;
    together_allow(true);
    if (plain) load_program(path, (int)fd, program);
    else SYS1(__NR_close, fd);
    together_allow(false);
    return plain;
}

u64 program_entry(const struct program *program) {
    return program->interpreter.entry ? program->interpreter.entry : program->own.entry;
}

void lay_out(struct program_stack *stack, const char *path, const struct program *program, const u64 *auxiliary) {
    u8 random[RANDOM_BYTES];
    require(SYS3(__NR_getrandom, random, sizeof random, 0), "no random bytes");
    const u64 overrides[][2] = {
        {AT_PHDR, program->own.headers},     {AT_PHNUM, program->own.header_count},
        {AT_ENTRY, program->own.entry},      {AT_BASE, program->interpreter.base},
        {AT_EXECFN, addr_of(stack_push(stack, path, strlen(path)))},
        {AT_PLATFORM, addr_of(stack_push(stack, "x86_64", 6))},
        {AT_RANDOM, addr_of(stack_push(stack, random, sizeof random))},
        {AT_SECURE, 0}, /* set when file capabilities raised the runtime; the program itself gained nothing */
        {AT_RSEQ_FEATURE_SIZE, 0}, /* rseq(2) is not offered: filter.c */
    };
    stack->top = stack_finish(stack, auxiliary, overrides, sizeof overrides / sizeof overrides[0]);
}
