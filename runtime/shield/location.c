#include "location.h"

#include "fail.h"
#include "file_pool.h"
#include "opening.h"
#include "table.h"
#include "working.h"

enum { LINKS_MOST = 40, NAME_MOST = 255, IS_LINK = 1, TEXTS = 2 };

/* Owned by whoever holds the lock. */
static char given[TEXTS][PATH_SIZE] BEHIND, text[TEXTS][PATH_SIZE] BEHIND, next[PATH_SIZE] BEHIND;
static struct mount *mounts[POLICY_FILES_MOST] BEHIND;
static struct mount *entered; /* one at most */

static bool is_shielded(const struct shield_files *region) { return region && region->kind != FILES_PLAIN; }

static long copy_path(u64 from, char *to) {
    for (size_t i = 0; i < PATH_SIZE; i++) {
        if ((i == 0 || (from + i) % PAGE == 0) && !shield_readable(from + i, 1)) return -EFAULT;
        to[i] = *(const char *)ptr_of(from + i);
        if (!to[i]) return i ? 0 : -ENOENT;
    }
    return -ENAMETOOLONG;
}

static bool names_directory(const char *path) {
    size_t size = strlen(path);
    const char *end = path + size;
    if (end[-1] == '/') return true;
    if (end[-1] != '.') return false;
    if (size == 1 || end[-2] == '/') return true;
    return end[-2] == '.' && (size == 2 || end[-3] == '/');
}

const struct shield_files *location_region(const char *path) {
    const struct shield_files *best = NULL;
    size_t size = strlen(path);
    for (u32 i = 0; i < policy.files_count; i++) {
        const struct shield_files *files = &policy.files[i];
        u32 length = files->path.size == 1 ? 0 : files->path.size; /* "/" */
        if (length > size || memcmp(path, files->path.bytes, length) || (path[length] && path[length] != '/')) continue;
        if (!best || files->path.size > best->path.size) best = files;
    }
    return best;
}

/* What no plaintext stays in, and hardly any program does without. */
static bool is_harmless(const char *path) {
    static const char devices[6][16] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"};
    for (size_t i = 0; i < sizeof devices / sizeof devices[0]; i++)
        if (same_string(path, devices[i])) return true;
    return starts_with(path, "/proc/self/") || starts_with(path, "/dev/fd/");
}

/* The host's path. In a strict enclave, one that the policy does not name is refused. */
static long to_kernel(struct location *location, u32 which, u64 pointer, u32 flags) {
    const struct shield_files *plain = location_region(text[which]);
    if (!plain && policy.strict && !is_harmless(text[which])) return -EACCES;
    if (plain && plain->flags & FILES_READ_ONLY && flags & LOCATION_CHANGES) return -EROFS;
    location->native = pointer;
    return SHIELD_PASS;
}

static bool starts_shielded(int directory, const char *path) {
    if (*path == '/') return false;
    return directory == AT_HERE ? working_is_shielded() : table_has((u64)(u32)directory);
}

/* The path's text, and what the kernel would be given for it: what leads through a region ("/region/..") is not known to it. */
static long take_text(struct location *location, u32 which, int directory, u64 path) {
    long error = copy_path(path, given[which]);
    if (failed(error)) return error;
    *location = (struct location){.full = text[which], .ends_in_slash = names_directory(given[which])};
    if (!path_normalise(directory, given[which], text[which], PATH_SIZE)) return policy.strict ? -EACCES : -ENAMETOOLONG;
    bool through = starts_shielded(directory, given[which]) || (given[which][0] == '/' && is_shielded(location_region(given[which])));
    location->native = through ? addr_of(text[which]) : path;
    return 0;
}

static long enter_region(struct location *location, const struct shield_files *region, bool changes) {
    struct mount *mount = mounts[region->index];
    long error = mount_enter(mount, changes);
    if (failed(error)) return error;
    location->region = region;
    location->mount = entered = mount;
    location->volume = mount_volume(mount);
    return 0;
}

static long leave_region(struct location *location) {
    long error = mount_leave(location->mount);
    location->mount = entered = NULL;
    return error;
}

struct mount *location_entered(u32 region) { return entered && mounts[region] == entered ? entered : NULL; }

void location_begin(void) {
    for (u32 i = 0; i < policy.files_count; i++) {
        const struct shield_files *region = &policy.files[i];
        long error = is_shielded(region) ? mount_open(region, &mounts[i]) : 0;
        if (!failed(error)) continue;
        char path[PATH_SIZE] = "";
        memcpy(path, region->path.bytes, region->path.size);
        fail_program(CLOISTER_EXIT_CANNOT_PROTECT, path, "the volume of this region cannot be used",
                     "cloister volume verify VOLUME --key-file KEY says what is wrong with it");
    }
}

long location_store_all(bool durable) {
    long first = 0;
    for (u32 i = 0; i < policy.files_count; i++) {
        struct mount *mount = mounts[i];
        if (!mount) continue;
        struct location location = {0};
        long error = enter_region(&location, &policy.files[i], true);
        if (!failed(error)) error = file_pool_store(&location, 0);
        if (!failed(error) && durable) error = mount_sync(mount);
        if (location.mount) error = location_leave(&location, error);
        if (!first) first = error;
    }
    return first;
}

bool location_is_text(u64 address) { return address - addr_of(text) < sizeof text; }

static bool is_directory(const struct inode *status) { return (status->mode & TYPE_MASK) == DIRECTORY; }
static bool is_link(const struct inode *status) { return (status->mode & TYPE_MASK) == LINK; }

static long look(struct location *location, u64 inode) {
    location->inode = inode;
    return volume_status(location->volume, inode, &location->status);
}

/* One step of the walk: `location` becomes the entry `name` of the directory that it is. 0, -ENOENT or another error. */
static long step(struct location *location, struct name name) {
    if (!is_directory(&location->status)) return -ENOTDIR;
    long error = location_may(location, &location->status, MAY_EXECUTE);
    if (failed(error)) return error;
    if (name.length > NAME_MOST) return -ENAMETOOLONG;
    location->directory = location->inode;
    location->last = name;
    location->inode = 0;
    long found = volume_find(location->volume, location->directory, name);
    return failed(found) ? found : look(location, (u64)found);
}

/* The new text: what stands before the link, its target, what stands behind it. */
static long follow(struct location *location, char *path, const u8 *behind) {
    size_t rest = strlen((const char *)behind), before = (size_t)((const char *)location->last.bytes - path);
    u64 size = location->status.size;
    char first = 0;
    long n = volume_read(location->volume, location->inode, 0, (u8 *)&first, 1);
    if (n != 1) return failed(n) ? n : -ENOENT;
    size_t at = first == '/' ? 0 : before; /* the slash before the link's name included */
    if (at + size + rest >= PATH_SIZE) return -ENAMETOOLONG;
    memcpy(next, path, at);
    n = volume_read(location->volume, location->inode, 0, (u8 *)next + at, size);
    if (n != (long)size) return failed(n) ? n : -EIO;
    memcpy(next + at + size, behind, rest + 1);
    if (!*behind && names_directory(next)) location->ends_in_slash = true;
    return path_normalise(AT_HERE, next, path, PATH_SIZE) ? IS_LINK : -ENAMETOOLONG;
}

/* IS_LINK: the text has changed, and the walk must begin anew. */
static long walk(struct location *location, char *path, u32 flags) {
    u32 at = location->region->path.size == 1 ? 0 : location->region->path.size;
    location->directory = 0;
    location->last = (struct name){0};
    long error = look(location, ROOT_INODE);
    while (!failed(error) && path[at] && path[1]) {
        const u8 *name = (const u8 *)path + at + 1, *end = name;
        while (*end && *end != '/') end++;
        error = step(location, (struct name){name, (size_t)(end - name)});
        if (error == -ENOENT && !*end && flags & LOCATION_PARENT) return 0;
        if (failed(error)) return error;
        if (is_link(&location->status) && (*end || flags & LOCATION_FOLLOW || location->ends_in_slash)) return follow(location, path, end);
        at = (u32)((const char *)end - path);
    }
    if (failed(error)) return error;
    return location->ends_in_slash ? location_require_directory(location) : 0;
}

/* `kept`: the volume is entered already, and no link may lead to another. */
static long walk_all(struct location *location, u32 which, u32 flags, bool kept) {
    for (int links = 0; links <= LINKS_MOST; links++) {
        const struct shield_files *region = location_region(text[which]);
        if (location->mount && location->region != region) {
            if (kept) return -EXDEV;
            long error = leave_region(location);
            if (failed(error)) return error;
        }
        if (!is_shielded(region)) return to_kernel(location, which, links ? addr_of(text[which]) : location->native, flags);
        long result = location->mount ? 0 : enter_region(location, region, flags & LOCATION_CHANGES);
        if (!failed(result)) result = walk(location, text[which], flags);
        if (result != IS_LINK) return result;
    }
    return -ELOOP;
}

/* After a walk that failed, or led to the kernel, no volume is entered. */
static long finish(struct location *location, long result) {
    return result && location->mount ? location_leave(location, result) : result;
}

long location_enter(struct location *location, int directory, u64 path, u32 flags) {
    long error = take_text(location, 0, directory, path);
    return failed(error) ? error : finish(location, walk_all(location, 0, flags, false));
}

long location_enter_two(struct location *one, struct location *other, const int directories[2], const u64 paths[2], const u32 flags[2]) {
    long error = take_text(one, 0, directories[0], paths[0]);
    if (!failed(error)) error = take_text(other, 1, directories[1], paths[1]);
    if (failed(error)) return error;
    const struct shield_files *region = location_region(text[0]), *second = location_region(text[1]);
    if ((is_shielded(region) || is_shielded(second)) && region != second) return -EXDEV;
    error = walk_all(one, 0, flags[0], false);
    if (error == SHIELD_PASS) return to_kernel(other, 1, other->native, flags[1]);
    if (failed(error)) return finish(one, error);
    other->region = one->region, other->mount = one->mount, other->volume = one->volume;
    return finish(one, walk_all(other, 1, flags[1], true));
}

long location_enter_open(struct location *location, const struct shielded *entry, bool changes) {
    *location = (struct location){.full = table_path(entry->path)};
    long error = enter_region(location, &policy.files[entry->region], changes);
    return failed(error) ? error : finish(location, look(location, entry->object));
}

long location_leave(struct location *location, long result) {
    long error = leave_region(location);
    return failed(error) && !failed(result) ? error : result;
}

long location_require_directory(const struct location *location) {
    return !location->inode || is_directory(&location->status) ? 0 : -ENOTDIR;
}
