#include "location_text.h"

long location_copy_path(u64 from, char *to) {
    for (size_t i = 0; i < PATH_SIZE; i++) {
        if ((i == 0 || (from + i) % PAGE == 0) && !shield_readable(from + i, 1)) return -EFAULT;
        to[i] = *(const char *)ptr_of(from + i);
        if (!to[i]) return i ? 0 : -ENOENT;
    }
    return -ENAMETOOLONG;
}

bool location_names_directory(const char *path) {
    size_t size = strlen(path);
    const char *end = path + size;
    if (end[-1] == '/') return true;
    if (end[-1] != '.') return false;
    if (size == 1 || end[-2] == '/') return true;
    return end[-2] == '.' && (size == 2 || end[-3] == '/');
}

bool location_is_dots(struct name name, size_t count) {
    return name.length == count && name.bytes[0] == '.' && name.bytes[count - 1] == '.';
}
