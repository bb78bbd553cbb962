#include "working.h"

#include "access.h"
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
    return table_get((u64)(u32)fd, &entry) && entry.path ? table_path(entry.path) : NULL;
}

static long change(const struct call *call, struct working *working) {
    struct location location;
    long error = location_enter(&location, AT_HERE, call->arg[0], LOCATION_FOLLOW);
    if (error == SHIELD_PASS) {
        error = SYS1(__NR_chdir, location.native);
        if (!failed(error)) follow_kernel(working);
        return error;
    }
    if (failed(error)) return error;
    error = location_require_directory(&location);
    if (!failed(error)) error = location_may(&location, &location.status, MAY_EXECUTE);
    if (!failed(error)) {
        copy_bounded(working->path, PATH_SIZE, location.full);
        working->directory = (struct shielded){.kind = SHIELD_FILE, .region = (u8)location.region->index, .object = location.inode};
    }
    return location_leave(&location, error);
}

static long change_to(const struct call *call, struct working *working) {
    struct shielded entry;
    if (!table_get(call->arg[0], &entry)) {
        long error = SYS1(__NR_fchdir, call->arg[0]);
        if (!failed(error)) follow_kernel(working);
        return error;
    }
    if (entry.kind != SHIELD_FILE || !entry.path) return -ENOTDIR;
    struct location location;
    long error = location_enter_open(&location, &entry, false);
    if (!failed(error)) error = location_leave(&location, location_may(&location, &location.status, MAY_EXECUTE));
    if (failed(error)) return error;
    copy_bounded(working->path, PATH_SIZE, table_path(entry.path));
    working->directory = entry;
    return 0;
}

static bool is_removed(const struct shielded *directory) {
    struct location location;
    long error = location_enter_open(&location, directory, false);
    return error == -ESTALE || (!failed(error) && location_leave(&location, 0) == 0 && !location.status.links);
}

static long tell(const struct call *call) {
    const char *path = working_path();
    u64 size = strlen(path) + 1;
    if (!working_is_shielded()) return SHIELD_PASS;
    if (is_removed(working_directory())) return -ENOENT;
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
