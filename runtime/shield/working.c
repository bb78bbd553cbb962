#include "working.h"

#include "access.h"
#include "location.h"
#include "table.h"
#include "../volume/volume.h"

enum { PERMISSIONS = 0777 };

static char path[PATH_SIZE] BEHIND;
static struct shielded directory; /* SHIELD_NONE: the kernel knows it */
static u32 mask;

void working_begin(void) {
    long n = SYS2(__NR_getcwd, path, PATH_SIZE);
    if (failed(n) || path[0] != '/') copy_bounded(path, PATH_SIZE, "/"); /* outside the root: the kernel would say "(unreachable)" */
    directory = (struct shielded){0};
    mask = (u32)SYS1(__NR_umask, 022);
    SYS1(__NR_umask, mask);
}

void working_take(const char *taken, const struct shielded *taken_directory, u32 taken_mask) {
    copy_bounded(path, PATH_SIZE, taken);
    directory = taken_directory ? *taken_directory : (struct shielded){0};
    mask = taken_mask;
}

const char *working_path(void) { return path; }
bool working_is_shielded(void) { return directory.kind != SHIELD_NONE; }
const struct shielded *working_directory(void) { return &directory; }
u32 working_mask(void) { return mask; }

const char *shield_directory(int fd) {
    struct shielded entry;
    if (!shield_is_on()) return NULL;
    if (fd == AT_HERE) return working_path();
    return table_get((u64)(u32)fd, &entry) && entry.path ? table_path(entry.path) : NULL;
}

static void follow_kernel(void) {
    long n = SYS2(__NR_getcwd, path, PATH_SIZE);
    if (failed(n) || path[0] != '/') copy_bounded(path, PATH_SIZE, "/");
    directory = (struct shielded){0};
}

static long change(const struct call *call) {
    struct location location;
    long error = location_enter(&location, AT_HERE, call->arg[0], LOCATION_FOLLOW);
    if (error == SHIELD_PASS) {
        error = SYS1(__NR_chdir, location.native);
        if (!failed(error)) follow_kernel();
        return error;
    }
    if (failed(error)) return error;
    error = location_require_directory(&location);
    if (!failed(error)) error = location_may(&location, &location.status, MAY_EXECUTE);
    if (!failed(error)) {
        copy_bounded(path, PATH_SIZE, location.full);
        directory = (struct shielded){.kind = SHIELD_FILE, .region = (u8)location.region->index, .object = location.inode};
    }
    return location_leave(&location, error);
}

static long change_to(const struct call *call) {
    struct shielded entry;
    if (!table_get(call->arg[0], &entry)) {
        long error = SYS1(__NR_fchdir, call->arg[0]);
        if (!failed(error)) follow_kernel();
        return error;
    }
    if (entry.kind != SHIELD_FILE || !entry.path) return -ENOTDIR;
    copy_bounded(path, PATH_SIZE, table_path(entry.path));
    directory = entry;
    return 0;
}

static long tell(const struct call *call) {
    u64 size = strlen(path) + 1;
    if (!working_is_shielded()) return SHIELD_PASS;
    if (call->arg[1] < size) return -ERANGE;
    if (!shield_writable(call->arg[0], size)) return -EFAULT;
    memcpy(ptr_of(call->arg[0]), path, size);
    return (long)size;
}

static long set_mask(u64 value) {
    u32 before = mask;
    mask = (u32)value & PERMISSIONS;
    SYS1(__NR_umask, mask);
    return before;
}

long working_call(const struct call *call) {
    switch (call->number) {
    case __NR_chdir: return change(call);
    case __NR_fchdir: return change_to(call);
    case __NR_getcwd: return tell(call);
    default: return set_mask(call->arg[0]);
    }
}
