/* execve(2): the kernel executes this runtime, which loads the program (exec_image.c). What the kernel would refuse is refused before,
 * for after that there is no way back. May run in a vfork child, on a small stack shared with nobody but in memory shared with the
 * parent: no state is written, and stack is used sparingly. */
#include <asm/stat.h>

#include "../shield/outside.h"
#include "../shield/table.h"
#include "access.h"
#include "call.h"
#include "descriptors.h"
#include "exec_image.h"
#include "process.h"
#include "program.h"
#include "state.h"

enum { AT_NO_FOLLOW = 0x100, OPEN_PATH = 010000000, NO_FOLLOW = 0400000, TYPE_MASK = 0170000, SYMBOLIC_LINK = 0120000, SMALL_PIECE = 256 };

static bool is_piece_here(int fd, u64 offset, u64 address, u64 length) {
    u8 piece[SMALL_PIECE];
    for (u64 at = 0, size; at < length; at += size) {
        size = min_u64(length - at, sizeof piece);
        if (SYS4(__NR_pread64, fd, piece, size, offset + at) != (long)size || memcmp(piece, ptr_of(address + at), size)) return false;
    }
    return true;
}

/* By its content: what /proc/self/exe leads to is root's to say, who can cover /proc. The first piece, which has the header, tells other
 * programs apart. Not inlined: its stack must be free again when handoff_write runs. */
static __attribute__((noinline)) bool is_this_runtime(int fd) {
    const Elf64_Phdr *segment = process_segments();
    for (u16 i = 0; i < process_segment_count(); i++, segment++)
        if (segment->p_type == PT_LOAD && !(segment->p_flags & PF_W))
            if (!is_piece_here(fd, segment->p_offset, segment->p_vaddr, segment->p_filesz)) return false;
    return true;
}

static long execute_path(struct call *call, const char *path) {
    char *const *arguments = ptr_of(call->arg[1]), *const *environment = ptr_of(call->arg[2]);
    long fd = program_open(path);
    if (failed(fd)) return fd;
    bool runtime = is_this_runtime((int)fd);
    long error = program_check((int)fd);
    SYS1(__NR_close, fd);
    if (failed(error)) return error;
    /* A program that executes the runtime starts an enclave of its own choice (cloister run inside an enclave): with the words that it
     * gave, in the kernel's memory as for every enclave's start. Without a sealed block it keeps no key of this tree. */
    if (runtime) return execute_in_kernel(call, path, arguments, environment);
    const struct image image = {.program_fd = -1, .path = path, .arguments = arguments, .environment = environment};
    return execute_image(call, &image);
}

/* Not inlined: few programs need the path's room, and the stack may be a small one (musl's posix_spawn(3) has 5 KiB). */
static __attribute__((noinline)) long execute_by_full_path(struct call *call, const char *path) {
    char full_path[PATH_SIZE];
    bool full;
    long error = outside_execution(AT_HERE, path, full_path, &full);
    return failed(error) ? error : execute_path(call, full ? full_path : path);
}

static long execute_shielded(struct call *call, const char *path) {
    bool full;
    long error = outside_execution(AT_HERE, path, NULL, &full);
    if (failed(error)) return error;
    return full ? execute_by_full_path(call, path) : execute_path(call, path);
}

long execute(struct call *call) {
    const char *path = ptr_of(call->arg[0]);
    char *const *arguments = ptr_of(call->arg[1]);
    if (!can_read(addr_of(path), 1)) return -EFAULT;
    if (arguments && !can_read(addr_of(arguments), sizeof *arguments)) return -EFAULT;
    if (path_is_own_exe(path)) path = state.program;
    return shield_is_on() ? execute_shielded(call, path) : execute_path(call, path);
}

/* An open file, which may have no path any more, or only O_PATH: opened anew through /proc, with execve's checks. The new image
 * gets the descriptor, which stays open until it has read it. `name` is what a script's interpreter gets to open. */
static long execute_descriptor(struct call *call, int file, const char *name) {
    char link[40];
    long known = SYS2(__NR_fcntl, file, 1 /* F_GETFD */);
    if (failed(known)) return known;
    if (shield_is_on() && table_has((u32)file)) return -EACCES;
    append_number(link, append(link, 0, sizeof link, "/proc/self/fd/"), sizeof link, (u64)file);
    long opened = program_open(link);
    if (failed(opened)) return opened;
    if (!state.manifest.size && !is_same_file(file, opened)) { /* root can cover /proc; what is measured is known by its digest */
        SYS1(__NR_close, opened);
        return -EACCES;
    }
    long fd = SYS3(__NR_fcntl, opened, 0 /* F_DUPFD: not close-on-exec */, 3);
    SYS1(__NR_close, opened);
    if (failed(fd)) return fd;
    long error = program_check((int)fd);
    struct image image = {.program_fd = (int)fd, .path = name, .arguments = ptr_of(call->arg[2]), .environment = ptr_of(call->arg[3])};
    if (!failed(error)) error = execute_image(call, &image);
    SYS1(__NR_close, fd);
    return error;
}

/* "/dev/fd/DIRECTORY" or "/dev/fd/DIRECTORY/path", as the kernel names such programs (fs/exec.c, alloc_bprm). */
static char *descriptor_name(char *to, size_t size, int directory, const char *path) {
    size_t at = append_number(to, append(to, 0, size, "/dev/fd/"), size, (u64)directory);
    if (*path) append(to, append(to, at, size, "/"), size, path);
    return to;
}

static __attribute__((noinline)) bool may_execute(int directory, const char *path) {
    bool full;
    return !shield_is_on() || (!failed(outside_execution(directory, path, NULL, &full)) && !full);
}

static long execute_relative(struct call *call, int directory, const char *path, bool follow) {
    if (!may_execute(directory, path)) return -EACCES;
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
