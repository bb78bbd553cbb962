#include "working.h"

#include "access.h"
#include "file.h"
#include "kept_path.h"
#include "location.h"
#include "table.h"
#include "../volume/volume.h"

enum { PERMISSIONS = 0777 };

/* A vfork child has a working directory of its own, but its parent's memory: what it changes is kept apart (table.h). */
struct working {
    char path[PATH_SIZE];
    struct shielded directory; /* SHIELD_NONE: the kernel knows it */
    u32 mask;
};

static struct working own BEHIND, borrowed[TABLE_OVERLAYS] BEHIND;

static const struct working *current(void) {
    bool first;
    long overlay = table_overlay(false, &first);
    return overlay < 0 || first ? &own : &borrowed[overlay];
}

/* To be changed; NULL if too many children are at it. */
static struct working *to_change(void) {
    bool first;
    long overlay = table_overlay(true, &first);
    if (overlay < 0) return overlay == -1 ? &own : NULL;
    if (first) memcpy(&borrowed[overlay], &own, sizeof own);
    return &borrowed[overlay];
}

static void follow_kernel(struct working *working) {
    long n = SYS2(__NR_getcwd, working->path, PATH_SIZE);
    if (failed(n) || working->path[0] != '/') copy_bounded(working->path, PATH_SIZE, "/"); /* the kernel says "(unreachable)" */
    working->directory = (struct shielded){0};
}

void working_begin(void) {
    follow_kernel(&own);
    own.mask = (u32)SYS1(__NR_umask, 022);
    SYS1(__NR_umask, own.mask);
}

void working_take(const char *taken, const struct shielded *taken_directory, u32 taken_mask) {
    copy_bounded(own.path, PATH_SIZE, taken);
    own.directory = taken_directory ? *taken_directory : (struct shielded){0};
    own.mask = taken_mask;
}

const char *working_path(void) { return current()->path; }
bool working_is_shielded(void) { return current()->directory.kind != SHIELD_NONE; }
const struct shielded *working_directory(void) { return &current()->directory; }
u32 working_mask(void) { return current()->mask; }

const char *shield_directory(int fd) {
    struct shielded entry;
    if (!shield_is_on()) return NULL;
    if (fd == AT_HERE) return working_path();
    return table_get((u64)(u32)fd, &entry) && entry.access & SHIELDED_DIRECTORY && entry.path ? kept_path_text(entry.path) : NULL;
}

/* It lives on when it is removed, so that its number means nothing else. A vfork child does not count. */
static void hold(const struct working *working, const struct shielded *directory, bool more) {
    if (working == &own && directory->kind == SHIELD_FILE) file_hold(directory, more);
}

void working_count_copy(void) { hold(&own, &own.directory, true); }

static long change_outside(struct working *working, long error) {
    if (failed(error)) return error;
    hold(working, &working->directory, false);
    follow_kernel(working);
    return 0;
}

static void change_inside(struct working *working, const struct shielded *directory, const char *path) {
    copy_bounded(working->path, PATH_SIZE, path);
    working->directory = *directory;
    working->directory.access = SHIELDED_DIRECTORY;
    working->directory.path = 0;
}

static long change(const struct call *call, struct working *working) {
    struct location location;
    struct shielded before = working->directory;
    long error = location_enter(&location, AT_HERE, call->arg[0], LOCATION_FOLLOW);
    if (error == SHIELD_PASS) return change_outside(working, SYS1(__NR_chdir, location.native));
    if (failed(error)) return error;
    error = location_require_directory(&location);
    if (!failed(error)) error = location_may(&location, &location.status, MAY_EXECUTE);
    bool changed = !failed(error);
    if (changed) {
        const struct shielded directory = {.kind = SHIELD_FILE, .region = (u8)location.region->index, .object = location.inode};
        change_inside(working, &directory, location.full);
        hold(working, &working->directory, true);
    }
    error = location_leave(&location, error);
    if (changed) hold(working, &before, false); /* it may be of another volume */
    return error;
}

static long change_to(const struct call *call, struct working *working) {
    struct shielded entry, before = working->directory;
    struct location location;
    if (!table_get((u32)call->arg[0], &entry)) return change_outside(working, SYS1(__NR_fchdir, call->arg[0]));
    if (!(entry.access & SHIELDED_DIRECTORY) || !entry.path) return -ENOTDIR;
    long error = location_enter_open(&location, &entry, false);
    if (!failed(error)) error = location_leave(&location, location_may(&location, &location.status, MAY_EXECUTE));
    if (failed(error)) return error;
    change_inside(working, &entry, kept_path_text(entry.path));
    hold(working, &working->directory, true);
    hold(working, &before, false);
    return 0;
}

static bool is_removed(const struct shielded *directory) {
    struct location location;
    long error = location_enter_open(&location, directory, false);
    return error == -ESTALE || (!failed(error) && location_leave(&location, 0) == 0 && !location.status.links);
}

static long tell(const struct call *call) {
    static char path[PATH_SIZE] BEHIND;
    if (!working_is_shielded()) return SHIELD_PASS;
    copy_bounded(path, PATH_SIZE, working_path());
    if (is_removed(working_directory()) || !file_path_now(working_directory(), path)) return -ENOENT;
    u64 size = strlen(path) + 1;
    if (call->arg[1] < size) return -ERANGE;
    if (!shield_writable(call->arg[0], size)) return -EFAULT;
    memcpy(ptr_of(call->arg[0]), path, size);
    return (long)size;
}

static long set_mask(u64 value, struct working *working) {
    u32 before = working->mask, mask = (u32)value & PERMISSIONS;
    working->mask = mask;
    SYS1(__NR_umask, mask);
    return before;
}

long working_call(const struct call *call) {
    if (call->number == __NR_getcwd) return tell(call);
    struct working *working = to_change();
    if (!working) return -ENOMEM;
    switch (call->number) {
    case __NR_chdir: return change(call, working);
    case __NR_fchdir: return change_to(call, working);
    default: return set_mask(call->arg[0], working);
    }
}
