#include "../shield/shield.h"
#include "opening.h"

#include <asm/stat.h>
#include <asm/statfs.h>
#include <linux/fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>

enum { PROC_ROOT = 1 /* PROC_ROOT_INO */ };

/* Whether this is the root of a procfs, and not a directory that somebody mounted in its place. */
static bool is_proc(long fd) {
    struct statfs system;
    struct stat info;
    if (failed(SYS2(__NR_fstatfs, fd, &system)) || failed(SYS2(__NR_fstat, fd, &info))) return false;
    return system.f_type == PROC_SUPER_MAGIC && info.st_ino == PROC_ROOT;
}

long descriptor_path(int fd, char out[], size_t size) {
    struct open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS};
    char name[32];
    append_number(name, append(name, 0, sizeof name, "self/fd/"), sizeof name, (u64)(u32)fd);
    long root = SYS2(__NR_open, "/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (failed(root)) return root;
    long link = is_proc(root) ? SYS4(__NR_openat2, root, name, &how, sizeof how) : -ENOENT;
    SYS1(__NR_close, root);
    if (failed(link)) return link;
    long n = SYS4(__NR_readlinkat, link, "", out, size - 1);
    SYS1(__NR_close, link);
    if (!failed(n)) out[n] = 0;
    return n;
}

static size_t drop_last(const char *out, size_t length) {
    while (length > 0 && out[length - 1] != '/') length--;
    return length > 0 ? length - 1 : 0;
}

/* `length` is that of `out` without a slash at its end: 0 stands for the root. */
static bool add_components(char out[], size_t *length, size_t size, const char *path) {
    while (*path) {
        const char *end = path;
        while (*end && *end != '/') end++;
        size_t n = (size_t)(end - path);
        if (n == 2 && path[0] == '.' && path[1] == '.') *length = drop_last(out, *length);
        else if (n > 0 && !(n == 1 && path[0] == '.')) {
            if (*length + 1 + n >= size) return false;
            out[(*length)++] = '/';
            memcpy(out + *length, path, n);
            *length += n;
        }
        path = *end ? end + 1 : end;
    }
    return true;
}

/* The path of the directory that a relative path starts from. The kernel puts "(unreachable)" before one outside the root. */
static bool start_directory(int directory, char out[], size_t size) {
    const char *shielded = shield_directory(directory);
    if (shielded) return copy_bounded(out, size, shielded) < size;
    long n = directory == AT_HERE ? SYS2(__NR_getcwd, out, size) : descriptor_path(directory, out, size);
    return !failed(n) && out[0] == '/';
}

bool path_normalise(int directory, const char *path, char out[], size_t size) {
    size_t length = 0;
    if (*path != '/') {
        if (!start_directory(directory, out, size)) return false;
        length = strlen(out);
        if (length == 1) length = 0; /* "/" */
    }
    if (!add_components(out, &length, size, path)) return false;
    if (length == 0) out[length++] = '/';
    out[length] = 0;
    return true;
}

int path_descriptor(const char *path) {
    const char *digits = starts_with(path, "/proc/self/fd/") ? path + 14 : starts_with(path, "/dev/fd/") ? path + 8 : "";
    int value = 0;
    if (!*digits) return -1;
    for (; *digits; digits++) {
        if (*digits < '0' || *digits > '9' || value > 1 << 20) return -1;
        value = value * 10 + (*digits - '0');
    }
    return value;
}
