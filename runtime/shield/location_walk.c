/* The walk along a path. Outside the regions it is text: components are taken together until they name a region. Inside, it goes from
 * inode to inode, as the kernel does: "..", symbolic links, permissions. A symbolic link begins a new walk, with a new text. */
#include "location.h"

#include "kept_path.h"
#include "location_text.h"
#include "manifest.h"
#include "opening.h"
#include "placeholder.h"
#include "outside.h"
#include "table.h"
#include "working.h"

enum { LINKS_MOST = 40, NAME_MOST = 255, AGAIN = 1, TEXTS = 2 };

/* Owned by whoever holds the lock. given: the path as it is walked; text: how far the walk has come, absolute and plain. */
static char given[TEXTS][PATH_SIZE] BEHIND, text[TEXTS][PATH_SIZE] BEHIND, next[PATH_SIZE] BEHIND;

struct walk {
    struct location *location;
    char *given, *text;
    size_t length;   /* of text */
    const char *rest; /* of given */
    u64 pointer;     /* the program's own path */
    u32 flags;
    bool through;    /* the kernel cannot follow the program's path: part of it is shielded */
    bool inside;     /* the walk stands in the volume, not in text before or above it */
    bool kept;       /* the volume is entered already, and no link may lead to another */
};

bool location_is_text(u64 address) { return address - addr_of(text) < sizeof text; }

static bool is_directory(const struct inode *status) { return (status->mode & TYPE_MASK) == DIRECTORY; }
static bool is_link(const struct inode *status) { return (status->mode & TYPE_MASK) == LINK; }

static long leave(struct walk *walk) {
    if (walk->kept) return -EXDEV;
    return location_leave(walk->location, 0);
}

/* A path that names an open descriptor means the shielded file behind it: the kernel would open the ledger. */
static long enter_again(struct walk *walk, const struct shielded *entry) {
    struct location *location = walk->location, found;
    long error = location->mount || walk->kept ? leave(walk) : 0;
    if (!failed(error)) error = location_enter_open(&found, entry, walk->flags & LOCATION_CHANGES);
    if (failed(error)) return error;
    found.native = location->native;
    found.dots = 1;
    found.ends_in_slash = location->ends_in_slash;
    *location = found;
    return found.ends_in_slash ? location_require_directory(location) : 0;
}

/* What was measured is read as a sealed copy, and what the session injected is no file of the host's: admission.c, files.c. */
static bool is_vouched_for(const struct walk *walk) {
    struct file injected;
    if (walk->flags & LOCATION_CHANGES) return false;
    return (state.manifest.size && manifest_find(walk->text)) || (state.files.size && file_called(walk->text, &injected));
}

/* The host's path. In a strict enclave, one that the policy does not name is refused. */
static long to_kernel(struct walk *walk) {
    if (!walk->length) copy_bounded(walk->text, PATH_SIZE, "/");
    struct shielded again;
    int fd = outside_descriptor(walk->text);
    if (fd >= 0 && walk->flags & LOCATION_FOLLOW && table_get((u64)fd, &again) && again.kind == SHIELD_FILE) return enter_again(walk, &again);
    const struct shield_files *plain = location_region(walk->text);
    if (location_is_shielded(plain)) return -ENOENT; /* it was text for the sake of a region further down */
    if (outside_is_magic(walk->text, walk->flags)) return -EACCES;
    if (!plain && policy.strict && !outside_is_harmless(walk->text, walk->flags) && !is_vouched_for(walk)) return -EACCES;
    if (plain && plain->flags & FILES_READ_ONLY && walk->flags & LOCATION_CHANGES) return -EROFS;
    struct location *location = walk->location;
    location->native = walk->through ? addr_of(walk->text) : walk->pointer;
    if (location->mount) {
        long error = leave(walk);
        if (failed(error)) return error;
    }
    return SHIELD_PASS;
}

static long enter(struct walk *walk, const struct shield_files *region) {
    struct location *location = walk->location;
    if (location->mount && location->region != region) {
        long error = leave(walk);
        if (failed(error)) return error;
    }
    long error = location->mount ? 0 : location_enter_region(location, region, walk->flags & LOCATION_CHANGES);
    location->directory = 0;
    location->last = (struct name){0};
    walk->inside = walk->through = true;
    return failed(error) ? error : location_look(location, ROOT_INODE);
}

static void drop_last(struct walk *walk) {
    while (walk->length && walk->text[walk->length - 1] != '/') walk->length--;
    if (walk->length) walk->length--;
    walk->text[walk->length] = 0;
}

static bool append_name(struct walk *walk, struct name name) {
    if (walk->length + 1 + name.length >= PATH_SIZE) return false;
    walk->text[walk->length++] = '/';
    memcpy(walk->text + walk->length, name.bytes, name.length);
    walk->length += name.length;
    walk->text[walk->length] = 0;
    return true;
}

/* A region that begins exactly here. */
static const struct shield_files *region_here(const struct walk *walk) {
    const struct shield_files *region = location_region(walk->text);
    u32 size = region && region->path.size == 1 ? 0 : region ? region->path.size : 1;
    return region && size == walk->length ? region : NULL;
}

/* Above the region's own directory: what that is, is text again. */
static long go_out(struct walk *walk) {
    drop_last(walk);
    const struct shield_files *outer = location_region(walk->length ? walk->text : "/");
    size_t rest = strlen(walk->rest);
    walk->inside = false;
    if (!location_is_shielded(outer)) return 0;
    if (walk->length + 1 + rest >= PATH_SIZE) return -ENAMETOOLONG;
    memcpy(next, walk->text, walk->length);
    next[walk->length] = '/';
    memcpy(next + walk->length + 1, walk->rest, rest + 1);
    memcpy(walk->given, next, walk->length + rest + 2);
    return AGAIN;
}

static long go_up(struct walk *walk) {
    struct location *location = walk->location;
    if (location->inode == ROOT_INODE) return go_out(walk);
    drop_last(walk);
    location->last = (struct name){0};
    location->dots = 2;
    location->directory = location->status.parent;
    return location_look(location, location->status.parent);
}

static long require_search(const struct walk *walk) {
    const struct location *location = walk->location;
    if (!is_directory(&location->status)) return -ENOTDIR;
    return location_may(location, &location->status, MAY_EXECUTE);
}

/* The new path: what stands before the link, its target, what stands behind it. */
static long follow(struct walk *walk) {
    const struct location *location = walk->location;
    size_t rest = strlen(walk->rest), at = 0;
    u64 size = location->status.size;
    char first = 0;
    long n = volume_read(location->volume, location->inode, 0, (u8 *)&first, 1);
    if (n != 1) return failed(n) ? n : -ENOENT;
    drop_last(walk);
    if (first != '/') {
        memcpy(next, walk->text, walk->length);
        next[walk->length] = '/';
        at = walk->length + 1;
    }
    if (at + size + rest >= PATH_SIZE) return -ENAMETOOLONG;
    n = volume_read(location->volume, location->inode, 0, (u8 *)next + at, size);
    if (n != (long)size) return failed(n) ? n : -EIO;
    memcpy(next + at + size, walk->rest, rest + 1);
    memcpy(walk->given, next, at + size + rest + 1);
    walk->location->ends_in_slash = location_names_directory(walk->given);
    return AGAIN;
}

static bool is_last(const struct walk *walk) {
    const char *at = walk->rest;
    while (*at == '/') at++;
    return !*at;
}

/* Whether a region lies below: the directories between need not exist in the volume. */
static bool is_above_region(const struct walk *walk) {
    for (u32 i = 0; i < policy.files_count; i++) {
        const struct text *path = &policy.files[i].path;
        if (path->size > walk->length && path->bytes[walk->length] == '/' && !memcmp(path->bytes, walk->text, walk->length)) return true;
    }
    return false;
}

/* Into the entry `name` of the directory where the walk stands. */
static long go_down(struct walk *walk, struct name name) {
    struct location *location = walk->location;
    if (walk->flags & LOCATION_FILE && *walk->rest == '/' && is_last(walk)) return -EISDIR;
    location->too_long = name.length > NAME_MOST;
    bool later = location->too_long && is_last(walk) && walk->flags & LOCATION_PARENT;
    if ((location->too_long && !later) || !append_name(walk, name)) return -ENAMETOOLONG;
    const struct shield_files *region = region_here(walk);
    if (region && location_is_shielded(region)) return enter(walk, region);
    if (region) { /* a plain one inside: text again */
        walk->inside = false;
        return 0;
    }
    location->directory = location->inode;
    location->last = name;
    location->dots = 0;
    location->inode = 0;
    if (later) return 0;
    long found = volume_find(location->volume, location->directory, name);
    if (found == -ENOENT && !is_last(walk) && is_above_region(walk)) {
        walk->inside = false;
        return 0;
    }
    if (found == -ENOENT && is_last(walk) && walk->flags & LOCATION_PARENT) return 0;
    long error = failed(found) ? found : location_look(location, (u64)found);
    if (failed(error) || !is_link(&location->status)) return error;
    bool through_slash = location->ends_in_slash && !(walk->flags & LOCATION_NAME);
    return !is_last(walk) || walk->flags & LOCATION_FOLLOW || through_slash ? follow(walk) : 0;
}

static long one_in_volume(struct walk *walk, struct name name) {
    long error = require_search(walk);
    if (failed(error)) return error;
    if (location_is_dots(name, 2)) return go_up(walk);
    if (!location_is_dots(name, 1)) return go_down(walk, name);
    walk->location->last = (struct name){0};
    walk->location->dots = 1;
    return 0;
}

static long one_as_text(struct walk *walk, struct name name) {
    if (location_is_dots(name, 1)) return 0;
    if (location_is_dots(name, 2)) {
        drop_last(walk);
        return 0;
    }
    if (!append_name(walk, name)) return -ENAMETOOLONG;
    const struct shield_files *region = region_here(walk);
    return location_is_shielded(region) ? enter(walk, region) : 0;
}

static long walk_once(struct walk *walk) {
    struct location *location = walk->location;
    while (!is_last(walk)) {
        while (*walk->rest == '/') walk->rest++;
        struct name name = {(const u8 *)walk->rest, 0};
        while (*walk->rest && *walk->rest != '/') walk->rest++, name.length++;
        long result = walk->inside ? one_in_volume(walk, name) : one_as_text(walk, name);
        if (result) return result;
        if (walk->inside && !location->inode) return 0; /* the last, which does not exist */
    }
    if (!walk->inside) return to_kernel(walk);
    return location->ends_in_slash && !(walk->flags & LOCATION_NAME) ? location_require_directory(location) : 0;
}

/* From the beginning: the root, which may be a region itself. */
static long start_at_root(struct walk *walk) {
    walk->rest = walk->given;
    walk->length = 0;
    walk->text[0] = 0;
    walk->inside = false;
    const struct shield_files *region = location_region("/");
    return location_is_shielded(region) ? enter(walk, region) : 0;
}

static long start_at(struct walk *walk, const struct shielded *directory, const char *path) {
    long error = walk->location->mount && walk->location->region->index != directory->region ? leave(walk) : 0;
    const struct shield_files *region = &policy.files[directory->region];
    walk->through = walk->inside = true;
    walk->rest = walk->given;
    walk->length = strlen(path);
    copy_bounded(walk->text, PATH_SIZE, path);
    if (!failed(error) && !walk->location->mount) error = location_enter_region(walk->location, region, walk->flags & LOCATION_CHANGES);
    walk->location->dots = 1;
    if (!failed(error)) error = location_look(walk->location, directory->object);
    return error == -ESTALE ? -ENOENT : error; /* it was removed */
}

/* A relative path from a directory that the kernel knows: the directory's path comes first. */
static long join(struct walk *walk, int directory) {
    size_t size = strlen(walk->given);
    memcpy(next, walk->given, size + 1);
    walk->text[0] = 0;
    if (!path_normalise(directory, ".", walk->given, PATH_SIZE)) return policy.strict ? -EACCES : SHIELD_PASS;
    size_t at = strlen(walk->given);
    if (at + 1 + size >= PATH_SIZE) return -ENAMETOOLONG;
    walk->given[at] = '/';
    memcpy(walk->given + at + 1, next, size + 1);
    return start_at_root(walk);
}

static long start(struct walk *walk, int directory) {
    struct shielded entry;
    if (walk->given[0] == '/') return start_at_root(walk);
    if (directory == AT_HERE && working_is_shielded()) return start_at(walk, working_directory(), working_path());
    if (directory == AT_HERE || !table_get((u64)(u32)directory, &entry)) return join(walk, directory);
    return !(entry.access & SHIELDED_DIRECTORY) || !entry.path ? -ENOTDIR : start_at(walk, &entry, kept_path_text(entry.path));
}

static void prepare(struct walk *walk, u32 which, u64 path) {
    walk->given = given[which];
    walk->text = text[which];
    walk->pointer = walk->location->native = path;
    walk->location->full = walk->text;
}

static long take(struct walk *walk, u32 which, u64 path) {
    prepare(walk, which, path);
    long error = location_copy_path(path, walk->given);
    if (!failed(error)) walk->location->ends_in_slash = location_names_directory(walk->given);
    return error;
}

static long walk_all(struct walk *walk, int directory) {
    long result = start(walk, directory);
    for (int links = 0; !result && links <= LINKS_MOST; links++) {
        result = walk_once(walk);
        if (result != AGAIN) return result;
        result = start_at_root(walk);
    }
    return result ? result : -ELOOP;
}

/* After a walk that failed, or led to the kernel, no volume is entered. */
static long finish(struct location *location, long result) {
    return result && location->mount ? location_leave(location, result) : result;
}

long location_enter(struct location *location, int directory, u64 path, u32 flags) {
    *location = (struct location){0};
    struct walk walk = {.location = location, .flags = flags};
    long error = take(&walk, 0, path);
    if (failed(error)) return error;
    error = finish(location, walk_all(&walk, directory));
    return !error && location->too_long ? location_leave(location, -ENAMETOOLONG) : error;
}

long location_enter_text(struct location *location, int directory, const char *path, u32 flags) {
    *location = (struct location){0};
    struct walk walk = {.location = location, .flags = flags};
    prepare(&walk, 0, addr_of(path));
    if (!*path) return -ENOENT;
    if (copy_bounded(walk.given, PATH_SIZE, path) >= PATH_SIZE) return -ENAMETOOLONG;
    location->ends_in_slash = location_names_directory(walk.given);
    return finish(location, walk_all(&walk, directory));
}

/* A second path, in the volume that is entered already. */
static long enter_beside(struct location *one, struct walk *second, int directory) {
    struct location *other = second->location;
    second->kept = true;
    other->region = one->region, other->mount = one->mount, other->volume = one->volume;
    long error = walk_all(second, directory);
    return finish(one, error == SHIELD_PASS ? -EXDEV : error);
}

long location_enter_two(struct location *one, struct location *other, const int directories[2], const u64 paths[2], const u32 flags[2]) {
    *one = *other = (struct location){0};
    struct walk first = {.location = one, .flags = flags[0]}, second = {.location = other, .flags = flags[1]};
    long error = take(&first, 0, paths[0]);
    if (!failed(error)) error = walk_all(&first, directories[0]);
    bool outside = error == SHIELD_PASS;
    if (!failed(error)) error = take(&second, 1, paths[1]); /* what is wrong with the first is said first */
    if (failed(error)) return finish(one, error);
    if (!outside) return enter_beside(one, &second, directories[1]);
    error = walk_all(&second, directories[1]);
    return other->mount ? location_leave(other, -EXDEV) : error;
}

long location_enter_open_and(struct location *one, struct location *other, const struct shielded *entry, int directory, u64 path, u32 flags) {
    *other = (struct location){0};
    struct walk second = {.location = other, .flags = flags};
    long error = take(&second, 1, path);
    if (!failed(error)) error = location_enter_open(one, entry, flags & LOCATION_CHANGES);
    return failed(error) ? error : enter_beside(one, &second, directory);
}
