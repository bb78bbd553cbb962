#include "opening.h"

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
    char link[40];
    long n;
    if (directory == AT_HERE) n = SYS2(__NR_getcwd, out, size) - 1;
    else {
        append_number(link, append(link, 0, sizeof link, "/proc/self/fd/"), sizeof link, (u64)(u32)directory);
        n = SYS3(__NR_readlink, link, out, size - 1);
    }
    if (failed(n) || n <= 0 || out[0] != '/') return false;
    out[n] = 0;
    return true;
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
