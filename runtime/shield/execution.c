/* What may be executed. The kernel loads from the host, so what a region holds cannot be a program: the host's file of that name would
 * be taken for it. By the path's text alone, because a vfork child may ask, whose state is its parent's. */
#include "location.h"
#include "opening.h"
#include "outside.h"
#include "working.h"

/* Owned by whoever holds the lock. */
static char name[PATH_SIZE] BEHIND;

static bool has_dots(const char *path) {
    for (; *path; path++)
        if (path[0] == '.' && path[1] == '.' && (path[2] == '/' || !path[2])) return true;
    return false;
}

static long check(int directory, const char *path) {
    if (!path_normalise(directory, path, name, sizeof name)) return -EACCES;
    const struct shield_files *region = location_region(name);
    if (location_is_shielded(region) || outside_is_magic(name, LOCATION_FOLLOW)) return -EACCES;
    bool admitted = region || state.manifest.size || same_string(name, state.program) || outside_descriptor(name) >= 0;
    return admitted || !policy.strict ? 0 : -EACCES;
}

long outside_execution(int directory, const char *path, char to[PATH_SIZE], bool *full) {
    struct lock_guard lock;
    *full = false;
    if (!policy.files_count) return 0;
    lock_take(&lock, false);
    long error = check(directory, path);
    *full = !failed(error) && directory == AT_HERE && (has_dots(path) || (*path != '/' && working_is_shielded()));
    if (*full && to) copy_bounded(to, PATH_SIZE, name);
    lock_give(&lock);
    return error;
}

bool outside_is_shielded(const char *path) {
    struct lock_guard lock;
    if (!policy.files_count) return false;
    lock_take(&lock, false);
    bool shielded = !path_normalise(AT_HERE, path, name, sizeof name) || location_is_shielded(location_region(name));
    lock_give(&lock);
    return shielded;
}
