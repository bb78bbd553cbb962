#include "fail.h"

enum { MESSAGE_SIZE = 1024 };

static void print(const char *message) { SYS3(__NR_write, 2, message, strlen(message)); }

static void print_fix(const char *fix) {
    char line[MESSAGE_SIZE];
    size_t at = append(line, 0, sizeof line, "  fix: ");
    at = append(line, at, sizeof line, fix);
    append(line, at, sizeof line, "\n");
    if (fix) print(line);
}

void fail(int code, const char *what, long error, const char *fix) {
    char line[MESSAGE_SIZE];
    size_t at = append(line, 0, sizeof line, "cloister: ");
    at = append(line, at, sizeof line, what);
    if (error) {
        at = append(line, at, sizeof line, " (errno ");
        at = append_number(line, at, sizeof line, (u64)(error < 0 ? -error : error));
        at = append(line, at, sizeof line, ")");
    }
    append(line, at, sizeof line, "\n");
    print(line);
    if (fix) print_fix(fix);
    SYS1(__NR_exit_group, code);
    __builtin_unreachable();
}

void fail_program(int code, const char *path, const char *what, const char *fix) {
    char line[MESSAGE_SIZE];
    size_t at = append(line, 0, sizeof line, path);
    at = append(line, at, sizeof line, ": ");
    append(line, at, sizeof line, what);
    fail(code, line, 0, fix);
}

void fail_secret_memory(long error) {
    if (error == -ENOSYS)
        fail(CLOISTER_EXIT_CANNOT_PROTECT, "this kernel offers no secret memory (memfd_secret)", error,
             "boot Linux 5.14 or later with secretmem.enable=1 on the kernel command line (the default from 6.5)");
    if (error == -EPERM)
        fail(CLOISTER_EXIT_CANNOT_PROTECT, "memfd_secret is denied here, probably by a container's seccomp profile", error,
             "docker run --security-opt seccomp=unconfined --cap-add IPC_LOCK ...");
    fail(CLOISTER_EXIT_CANNOT_PROTECT, "the locked-memory limit (RLIMIT_MEMLOCK) leaves no room for secret memory", error,
         "sudo setcap cap_ipc_lock+ep \"$(cloister doctor --runtime-path)\"   (or raise it: ulimit -l 1048576)");
}

void require(long result, const char *what) {
    if (failed(result)) fail(CLOISTER_EXIT_INTERNAL, what, result, NULL);
}
