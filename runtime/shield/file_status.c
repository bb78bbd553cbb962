/* What stat(2), statx(2), access(2), readlink(2), statfs(2) and their kin say of shielded files. */
#include <asm/stat.h>
#include <asm/statfs.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

#include "file.h"
#include "file_pool.h"
#include "table.h"

enum {
    SECTOR = 512, NO_FOLLOW = 0x100 /* AT_SYMLINK_NOFOLLOW */, ALL_ACCESS = MAY_READ | MAY_WRITE | MAY_EXECUTE,
    DEVICE = 0x7e00, /* of the first region; no disk has it */
    SYSTEM_TYPE = 0xef53, NAME_LONGEST_HERE = 255,
};

static const u64 second = 1000000000UL;

/* What stands in mappings only is in no volume yet. */
static u64 sectors(const struct location *location) {
    u64 blocks = (location->status.size + BLOCK - 1) / BLOCK;
    if (!file_pool_is_used(location->region->index)) blocks = volume_stored(location->volume, location->inode, &location->status);
    return blocks * (BLOCK / SECTOR);
}

long file_tell_status(const struct location *location, u64 to) {
    const struct inode *inode = &location->status;
    if (!shield_writable(to, sizeof(struct stat))) return -EFAULT;
    struct stat *info = ptr_of(to);
    *info = (struct stat){.st_dev = DEVICE + location->region->index, .st_ino = location->inode, .st_nlink = inode->links, .st_mode = inode->mode,
                          .st_uid = inode->uid, .st_gid = inode->gid, .st_size = (long)inode->size, .st_blksize = BLOCK,
                          .st_blocks = (long)sectors(location), .st_atime = inode->mtime / second,
                          .st_atime_nsec = inode->mtime % second, .st_mtime = inode->mtime / second, .st_mtime_nsec = inode->mtime % second,
                          .st_ctime = inode->ctime / second, .st_ctime_nsec = inode->ctime % second};
    return 0;
}

static struct statx_timestamp moment(u64 nanoseconds) {
    return (struct statx_timestamp){.tv_sec = (long)(nanoseconds / second), .tv_nsec = (u32)(nanoseconds % second)};
}

long file_tell_extended(const struct location *location, u64 to) {
    const struct inode *inode = &location->status;
    if (!shield_writable(to, sizeof(struct statx))) return -EFAULT;
    struct statx *info = ptr_of(to);
    *info = (struct statx){.stx_mask = STATX_BASIC_STATS, .stx_blksize = BLOCK, .stx_nlink = inode->links, .stx_uid = inode->uid, .stx_gid = inode->gid,
                           .stx_mode = (u16)inode->mode, .stx_ino = location->inode, .stx_size = inode->size,
                           .stx_blocks = sectors(location), .stx_atime = moment(inode->mtime), .stx_mtime = moment(inode->mtime),
                           .stx_ctime = moment(inode->ctime), .stx_dev_major = DEVICE >> 8, .stx_dev_minor = location->region->index};
    return 0;
}

/* A volume grows as it is written to: what the host has room for is the host's to say, at that moment. */
long file_tell_system(u64 to) {
    if (!shield_writable(to, sizeof(struct statfs))) return -EFAULT;
    struct statfs *info = ptr_of(to);
    const long room = 1L << 24, inodes = 1L << 22;
    *info = (struct statfs){.f_type = SYSTEM_TYPE, .f_bsize = BLOCK, .f_blocks = room, .f_bfree = room, .f_bavail = room, .f_files = inodes,
                            .f_ffree = inodes, .f_namelen = NAME_LONGEST_HERE, .f_frsize = BLOCK};
    return 0;
}

static long check_access(const struct location *location, u64 mode) {
    if (mode & ~(u64)ALL_ACCESS) return -EINVAL;
    return mode ? location_may(location, &location->status, (u32)mode) : 0;
}

static long tell_link(const struct location *location, u64 to, u64 size) {
    if ((location->status.mode & TYPE_MASK) != LINK) return -EINVAL;
    if ((int)size <= 0) return -EINVAL;
    u64 length = min_u64(size, location->status.size);
    if (!shield_writable(to, length)) return -EFAULT;
    return volume_read(location->volume, location->inode, 0, ptr_of(to), length);
}

/* Where a call has its path, and how the path is to be read. */
struct path_form {
    u8 directory, path; /* numbers of arguments; NONE: the working directory */
    bool follow;
};

enum { NONE = 9 };

static struct path_form form_of(const struct call *call) {
    const u64 *a = call->arg;
    switch (call->number) {
    case __NR_lstat:
    case __NR_readlink:
    case __NR_lgetxattr:
    case __NR_llistxattr:
    case __NR_lsetxattr:
    case __NR_lremovexattr: return (struct path_form){NONE, 0, false};
    case __NR_newfstatat: return (struct path_form){0, 1, !(a[3] & NO_FOLLOW)};
    case __NR_statx: return (struct path_form){0, 1, !(a[2] & NO_FOLLOW)};
    case __NR_faccessat2: return (struct path_form){0, 1, !(a[3] & NO_FOLLOW)};
    case __NR_faccessat: return (struct path_form){0, 1, true};
    case __NR_readlinkat: return (struct path_form){0, 1, false};
    default: return (struct path_form){NONE, 0, true};
    }
}

static long tell(const struct location *location, const struct call *call) {
    const u64 *a = call->arg;
    switch (call->number) {
    case __NR_stat:
    case __NR_lstat: return file_tell_status(location, a[1]);
    case __NR_newfstatat: return file_tell_status(location, a[2]);
    case __NR_statx: return file_tell_extended(location, a[4]);
    case __NR_access: return check_access(location, a[1]);
    case __NR_faccessat:
    case __NR_faccessat2: return check_access(location, a[2]);
    case __NR_readlink: return tell_link(location, a[1], a[2]);
    case __NR_readlinkat: return tell_link(location, a[2], a[3]);
    case __NR_statfs: return file_tell_system(a[1]);
    case __NR_listxattr:
    case __NR_llistxattr: return 0;
    default: return -EOPNOTSUPP; /* extended attributes */
    }
}

static bool is_empty(u64 path) { return !path || (shield_readable(path, 1) && !*(const char *)ptr_of(path)); }

/* newfstatat(2) and statx(2) with AT_EMPTY_PATH: of the descriptor itself. */
static long tell_descriptor(struct call *call, const struct shielded *entry) {
    struct location location;
    long error = location_enter_open(&location, entry, false);
    return failed(error) ? error : location_leave(&location, tell(&location, call));
}

static bool may_be_empty(const struct call *call) {
    switch (call->number) {
    case __NR_newfstatat: return call->arg[3] & AT_EMPTY;
    case __NR_statx: return call->arg[2] & AT_EMPTY;
    case __NR_faccessat2: return call->arg[3] & AT_EMPTY;
    case __NR_readlinkat: return true;
    default: return false;
    }
}

static long tell_outside(const struct call *call, const char *path) {
    const u64 *a = call->arg;
    if (call->number == __NR_readlink) return file_tell_path(path, a[1], a[2]);
    return call->number == __NR_readlinkat ? file_tell_path(path, a[2], a[3]) : SHIELD_PASS;
}

long file_status_call(struct call *call) {
    struct path_form form = form_of(call);
    struct location location;
    struct shielded entry;
    int directory = form.directory == NONE ? AT_HERE : (int)call->arg[form.directory];
    if (may_be_empty(call) && is_empty(call->arg[form.path])) {
        if (directory == AT_HERE || !table_get((u64)(u32)directory, &entry)) return SHIELD_PASS;
        return entry.kind == SHIELD_FILE ? tell_descriptor(call, &entry) : SHIELD_PASS;
    }
    long result = location_enter(&location, directory, call->arg[form.path], form.follow ? LOCATION_FOLLOW : 0);
    if (!result) return location_leave(&location, tell(&location, call));
    if (result != SHIELD_PASS) return result;
    result = tell_outside(call, location.full);
    if (result == SHIELD_PASS) call->arg[form.path] = location.native;
    return result;
}
