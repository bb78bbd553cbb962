#include "location.h"

#include "fail.h"
#include "kept_path.h"
#include "mount_trouble.h"
#include "file_pool.h"
#include "table.h"

/* Owned by whoever holds the lock. */
static struct mount *mounts[POLICY_FILES_MOST] BEHIND;
static struct mount *entered; /* one at most */
static bool used[POLICY_FILES_MOST] BEHIND;

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

long location_enter_region(struct location *location, const struct shield_files *region, bool changes) {
    struct mount *mount = mounts[region->index];
    long error = mount_enter(mount, changes);
    if (failed(error)) return error;
    location->region = region;
    location->mount = entered = mount;
    used[region->index] = true;
    location->volume = mount_volume(mount);
    return 0;
}

static long leave_region(struct location *location) {
    long error = mount_leave(location->mount);
    location->mount = entered = NULL;
    return error;
}

struct mount *location_entered(u32 region) { return entered && mounts[region] == entered ? entered : NULL; }

struct volume *location_peek(u32 region) { return mounts[region] ? mount_peek(mounts[region]) : NULL; }

void location_begin(void) {
    for (u32 i = 0; i < policy.files_count; i++) {
        const struct shield_files *region = &policy.files[i];
        long error = location_is_shielded(region) ? mount_open(region, &mounts[i]) : 0;
        if (!failed(error)) continue;
        char path[PATH_SIZE] = "";
        memcpy(path, region->path.bytes, region->path.size);
        const struct trouble trouble = mount_trouble(error);
        fail_program(CLOISTER_EXIT_CANNOT_PROTECT, path, trouble.what, trouble.fix);
    }
}

long location_store_mapped(void) {
    long first = 0;
    for (u32 i = 0; i < policy.files_count; i++) {
        struct location location = {0};
        if (!file_pool_is_used(i)) continue;
        long error = location_enter_region(&location, &policy.files[i], true);
        if (!failed(error)) error = location_leave(&location, file_pool_store(&location, 0));
        if (!first) first = error;
    }
    return first;
}

long location_sync_all(void) {
    long first = location_store_mapped();
    for (u32 i = 0; i < policy.files_count; i++) {
        struct location location = {0};
        if (!mounts[i] || (!used[i] && !mount_is_left_over(mounts[i]))) continue;
        long error = location_enter_region(&location, &policy.files[i], true);
        if (!failed(error)) error = location_leave(&location, mount_sync(mounts[i]));
        if (!first) first = error;
    }
    return first;
}

static bool is_directory(const struct inode *status) { return (status->mode & TYPE_MASK) == DIRECTORY; }

long location_look(struct location *location, u64 inode) {
    location->inode = inode;
    return volume_status(location->volume, inode, &location->status);
}

long location_enter_open(struct location *location, const struct shielded *entry, bool changes) {
    *location = (struct location){.full = kept_path_text(entry->path), .linkable = entry->access & SHIELDED_LINKABLE};
    long error = location_enter_region(location, &policy.files[entry->region], changes);
    if (failed(error)) return error;
    error = location_look(location, entry->object);
    return failed(error) ? location_leave(location, error) : 0;
}

long location_leave(struct location *location, long result) {
    long error = leave_region(location);
    return failed(error) && !failed(result) ? error : result;
}

long location_require_directory(const struct location *location) {
    return !location->inode || is_directory(&location->status) ? 0 : -ENOTDIR;
}
