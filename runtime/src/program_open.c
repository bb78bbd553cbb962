/* Opening what is to be executed. In a strict enclave that is measured, in a learning one it is written down. */
#include <asm/stat.h>

#include "../shield/outside.h"
#include "admission.h"
#include "learn.h"
#include "program.h"
#include "state.h"

enum { EXECUTE = 1, TYPE_MASK = 0170000, REGULAR = 0100000 };

long program_may_execute(const char *path) {
    struct stat info;
    long error = SYS2(__NR_stat, path, &info);
    if (failed(error)) return error;
    if ((info.st_mode & TYPE_MASK) != REGULAR) return -EACCES;
    error = SYS4(__NR_faccessat2, AT_HERE, path, EXECUTE, AT_EFFECTIVE);
    return error == -ENOSYS ? SYS2(__NR_access, path, EXECUTE) : error;
}

static void learn(const char *path) {
    struct lock_guard lock;
    lock_take(&lock, false);
    learn_executed(path);
    lock_give(&lock);
}

long program_open(const char *path) {
    long error = program_may_execute(path);
    if (failed(error)) return error;
    if (shield_is_on() && outside_is_shielded(path)) return -EACCES;
    if (state.manifest.size) return admission_open_executable(path);
    if (state.learn[0]) learn(path);
    return SYS2(__NR_open, path, READ_ONLY | CLOSE_ON_EXEC);
}

long program_check(int fd) {
    struct script_line line;
    long owned = fd, script = program_script(fd, &line);
    for (int depth = 0; script == 1; depth++) {
        long next = depth < SCRIPT_DEPTH ? program_open(line.interpreter) : -ELOOP;
        if (owned != fd) SYS1(__NR_close, owned);
        if (failed(next)) return next;
        owned = next;
        script = program_script((int)owned, &line);
    }
    long result = failed(script) ? script : program_is_elf64((int)owned) ? 0 : -ENOEXEC;
    if (owned != fd) SYS1(__NR_close, owned);
    return result;
}
