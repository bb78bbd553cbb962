/* Where an open file is now: what readlink(2) says of /proc/self/fd/N, and getcwd(2). Its path when it was opened is tried first; what was
 * renamed is looked for in the same directory, and a directory from itself upwards. */
#include "file.h"
#include "kept_path.h"
#include "outside.h"
#include "table.h"

/* Whether the path still leads to the file; where that cannot be told, it is believed. */
static bool is_there(const struct shielded *entry, const char *path) {
    struct location location;
    long error = location_enter_text(&location, AT_HERE, path, 0);
    if (error) return error != -ENOENT && error != -ENOTDIR && error != SHIELD_PASS;
    bool same = location.region->index == entry->region && location.inode == entry->object;
    return !failed(location_leave(&location, 0)) && same;
}

static bool find_name(struct volume *volume, u64 directory, u64 wanted, struct name *name) {
    u64 position = 0, inode;
    while (volume_list(volume, directory, &position, name, &inode) == 1)
        if (inode == wanted) return true;
    return false;
}

static bool find_beside(const struct shielded *entry, char path[PATH_SIZE]) {
    struct location location;
    struct name name;
    size_t at = strlen(path);
    while (at && path[at - 1] != '/') at--;
    if (at < 2) return false;
    char first = path[at];
    path[at] = 0;
    long error = location_enter_text(&location, AT_HERE, path, LOCATION_FOLLOW);
    path[at] = first;
    if (error) return false;
    bool found = location.region->index == entry->region && find_name(location.volume, location.inode, entry->object, &name) && at + name.length < PATH_SIZE;
    if (found) {
        memcpy(path + at, name.bytes, name.length);
        path[at + name.length] = 0;
    }
    return !failed(location_leave(&location, 0)) && found;
}

static bool put_before(char path[PATH_SIZE], size_t *at, const u8 *bytes, size_t size) {
    if (*at < size) return false;
    *at -= size;
    memcpy(path + *at, bytes, size);
    return true;
}

/* Written from the buffer's end on. */
static bool climb(const struct location *location, char path[PATH_SIZE], size_t *at) {
    const struct text *start = &location->region->path;
    struct inode status = location->status;
    for (u64 number = location->inode; number != ROOT_INODE; number = status.parent) {
        struct name name;
        if (failed(volume_status(location->volume, number, &status)) || !status.links) return false;
        if (!find_name(location->volume, status.parent, number, &name)) return false;
        if (!put_before(path, at, name.bytes, name.length) || !put_before(path, at, (const u8 *)"/", 1)) return false;
    }
    return start->size == 1 ? path[*at] || put_before(path, at, start->bytes, 1) : put_before(path, at, start->bytes, start->size);
}

static bool find_upwards(const struct shielded *entry, char path[PATH_SIZE]) {
    static char found[PATH_SIZE] BEHIND;
    struct location location;
    size_t at = PATH_SIZE - 1;
    if (failed(location_enter_open(&location, entry, false))) return false;
    found[at] = 0;
    bool complete = climb(&location, found, &at);
    if (complete) copy_bounded(path, PATH_SIZE, found + at);
    return !failed(location_leave(&location, 0)) && complete;
}

bool file_path_now(const struct shielded *entry, char path[PATH_SIZE]) {
    if (is_there(entry, path)) return true;
    return entry->access & SHIELDED_DIRECTORY ? find_upwards(entry, path) : find_beside(entry, path);
}

long file_tell_path(const char *link, u64 to, u64 size) {
    static char path[PATH_SIZE] BEHIND;
    struct shielded entry;
    int fd = outside_descriptor(link);
    if (fd < 0 || !table_get((u64)(u32)fd, &entry) || entry.kind != SHIELD_FILE || !entry.path) return SHIELD_PASS;
    if ((int)size <= 0) return -EINVAL;
    copy_bounded(path, PATH_SIZE, kept_path_text(entry.path));
    size_t length = file_path_now(&entry, path) ? strlen(path) : append(path, strlen(path), PATH_SIZE, " (deleted)");
    u64 told = min_u64(length, size);
    if (!shield_writable(to, told)) return -EFAULT;
    memcpy(ptr_of(to), path, told);
    return (long)told;
}
