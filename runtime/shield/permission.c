/* Who may do what, by the permissions in a volume: as path_resolution(7) and inode(7) have it, without capabilities but those of root. */
#include "location.h"

enum { GROUPS_MOST = 256, STICKY = 01000, OWNER_SHIFT = 6, GROUP_SHIFT = 3 };

static u32 groups[GROUPS_MOST] BEHIND;

bool location_is_root(void) { return SYS0(__NR_geteuid) == 0; }

static bool is_member(u32 gid) {
    if ((u32)SYS0(__NR_getegid) == gid) return true;
    long count = SYS2(__NR_getgroups, GROUPS_MOST, groups);
    for (long i = 0; i < count; i++)
        if (groups[i] == gid) return true;
    return false;
}

static bool is_allowed(const struct inode *status, u32 what) {
    u32 user = (u32)SYS0(__NR_geteuid), shift = 0;
    bool directory = (status->mode & TYPE_MASK) == DIRECTORY;
    if (user == 0) return !(what & MAY_EXECUTE) || directory || status->mode & 0111;
    if (status->uid == user) shift = OWNER_SHIFT;
    else if (is_member(status->gid)) shift = GROUP_SHIFT;
    return (status->mode >> shift & what) == what;
}

long location_may(const struct location *location, const struct inode *status, u32 what) {
    if (what & MAY_WRITE && location->region->flags & FILES_READ_ONLY) return -EROFS;
    return is_allowed(status, what) ? 0 : -EACCES;
}

long location_owns(const struct location *location) {
    if (location->region->flags & FILES_READ_ONLY) return -EROFS;
    u32 user = (u32)SYS0(__NR_geteuid);
    return user == 0 || user == location->status.uid ? 0 : -EPERM;
}

long location_may_change_directory(const struct location *location, const struct inode *victim) {
    struct inode directory;
    long error = volume_status(location->volume, location->directory, &directory);
    if (!failed(error) && !directory.links) return -ENOENT; /* it was removed */
    if (!failed(error)) error = location_may(location, &directory, MAY_WRITE | MAY_EXECUTE);
    if (failed(error) || !victim || !(directory.mode & STICKY)) return error;
    u32 user = (u32)SYS0(__NR_geteuid);
    return user == 0 || user == directory.uid || user == victim->uid ? 0 : -EPERM;
}
