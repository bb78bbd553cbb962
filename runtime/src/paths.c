/* /proc/self/exe is the runtime to the kernel and the program to itself. */
#include "access.h"
#include "call.h"
#include "files.h"
#include "state.h"

static bool names_own_exe(const char *path) {
    char own[32];
    size_t at = append(own, 0, sizeof own, "/proc/");
    at = append_number(own, at, sizeof own, (u64)SYS0(__NR_getpid));
    append(own, at, sizeof own, "/exe");
    return same_string(path, own);
}

/* Whether it ends in its page, or goes on in one that can be read. The longest name that is looked for is shorter than a page. */
static bool is_whole(const char *path) {
    for (const char *at = path; at == path || addr_of(at) % PAGE; at++)
        if (!*at) return true;
    return can_read(page_up(addr_of(path) + 1), 1);
}

bool path_is_own_exe(const char *path) {
    if (!is_whole(path)) return false;
    if (!starts_with(path, "/proc/")) return false;
    return same_string(path, "/proc/self/exe") || same_string(path, "/proc/thread-self/exe") || names_own_exe(path);
}

long path_readlink(struct call *call) {
    const u64 *a = call->arg;
    bool at_form = call->number == __NR_readlinkat;
    const char *path = ptr_of(at_form ? a[1] : a[0]);
    u64 size = at_form ? a[3] : a[2];
    if (path && files_have(call, at_form ? (int)a[0] : AT_HERE, path)) return -EINVAL; /* no link */
    if (!path || !can_read(addr_of(path), 1) || !path_is_own_exe(path) || (int)size <= 0) return SYS4((long)call->number, a[0], a[1], a[2], a[3]);
    u64 length = min_u64(strlen(state.program), size), buffer = at_form ? a[2] : a[1];
    if (!can_write(buffer, length)) return -EFAULT;
    memcpy(ptr_of(buffer), state.program, length);
    return (long)length;
}
