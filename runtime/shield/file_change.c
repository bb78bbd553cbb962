/* Calls that change names and attributes: mkdir(2), unlink(2), rename(2), link(2), symlink(2), chmod(2), chown(2), utimensat(2),
 * truncate(2) and their kin. */
#include <linux/fcntl.h>
#include <linux/fs.h>

#include "file.h"
#include "file_pool.h"
#include "reserved.h"
#include "table.h"
#include "working.h"

enum { PERMISSIONS = 07777, SET_GROUP = 02000, SET_USER = 04000, REMOVE_DIRECTORY = 0x200, FOLLOW_LINK = 0x400, NO_FOLLOW = 0x100, KEEP = 0xffffffff, NONE = 9,
       FCHMODAT2 = 452, MICRO = 1000, TIME_NOW = 0x3fffffff, TIME_OMIT = 0x3ffffffe };

static const u64 second = 1000000000UL;

static bool is_directory(const struct inode *status) { return (status->mode & TYPE_MASK) == DIRECTORY; }

static u64 now(void) {
    u64 time[2] = {0, 0};
    SYS2(__NR_clock_gettime, 0, time);
    return time[0] * second + time[1];
}

/* The directory says whose group, and that what is a directory itself says so too. */
static long make(const struct location *location, u32 mode) {
    struct inode directory;
    if (location->inode) return -EEXIST;
    long error = location_may_change_directory(location, NULL);
    if (!failed(error)) error = volume_status(location->volume, location->directory, &directory);
    if (failed(error)) return error;
    bool inherits = directory.mode & SET_GROUP;
    u32 group = inherits ? directory.gid : (u32)SYS0(__NR_getegid);
    if (inherits && (mode & TYPE_MASK) == DIRECTORY) mode |= SET_GROUP;
    return volume_make(location->volume, location->directory, location->last, mode, (u32)SYS0(__NR_geteuid), group);
}

static u32 masked(u64 mode) { return (u32)mode & PERMISSIONS & ~working_mask(); }

static long make_directory(const struct location *location, u64 mode) {
    long inode = make(location, DIRECTORY | (masked(mode) & ~(u32)(SET_USER | SET_GROUP)));
    return failed(inode) ? inode : 0;
}

static long make_node(const struct location *location, u64 mode) {
    if (location->ends_in_slash && !location->inode) return -ENOENT;
    u32 type = (u32)mode & TYPE_MASK;
    if (type && type != REGULAR) return -EPERM; /* devices, pipes and sockets are the kernel's */
    long inode = make(location, REGULAR | masked(mode));
    return failed(inode) ? inode : 0;
}

/* The target is the program's text, of which a link must have some. */
static long make_link(const struct location *location, u64 target) {
    u64 size = 0;
    while (size < PATH_SIZE && shield_readable(target + size, 1) && *(const char *)ptr_of(target + size)) size++;
    if (!shield_readable(target + size, 1)) return -EFAULT;
    if (!size || size == PATH_SIZE) return size ? -ENAMETOOLONG : -ENOENT;
    if (location->ends_in_slash && !location->inode) return -ENOENT;
    long inode = make(location, LINK | 0777);
    if (failed(inode)) return inode;
    long n = volume_write(location->volume, (u64)inode, 0, ptr_of(target), size);
    return n == (long)size ? 0 : failed(n) ? n : -EIO;
}

static long remove_name(const struct location *location, bool directory) {
    if (!location->last.length) return !directory ? -EISDIR : location->dots == 1 ? -EINVAL : location->dots ? -ENOTEMPTY : -EBUSY;
    bool found = is_directory(&location->status);
    if (!directory && location->ends_in_slash) return found ? -EISDIR : -ENOTDIR;
    long error = location_may_change_directory(location, &location->status);
    if (!failed(error) && directory != found) error = directory ? -ENOTDIR : -EISDIR;
    return failed(error) ? error : mount_remove(location->mount, location->directory, location->last);
}

static long add_link(const struct location *old, const struct location *new) {
    if (!old->inode || (!old->status.links && !old->linkable)) return -ENOENT;
    if (new->too_long) return -ENAMETOOLONG;
    if (new->inode) return -EEXIST;
    if (new->ends_in_slash) return -ENOENT;
    if (is_directory(&old->status)) return -EPERM;
    long error = location_may_change_directory(new, NULL);
    return failed(error) ? error : volume_link(new->volume, old->inode, new->directory, new->last);
}

static long check_rename(const struct location *old, const struct location *new, u64 flags) {
    if (flags & ~(u64)RENAME_NOREPLACE) return -EINVAL;
    if (!old->last.length || !new->last.length) return -EBUSY;
    if (!old->inode) return old->too_long ? -ENAMETOOLONG : -ENOENT;
    if (new->too_long) return -ENAMETOOLONG;
    if (flags & RENAME_NOREPLACE && new->inode) return -EEXIST;
    if ((old->ends_in_slash || new->ends_in_slash) && !is_directory(&old->status)) return -ENOTDIR;
    long error = location_may_change_directory(old, &old->status);
    if (!failed(error)) error = location_may_change_directory(new, new->inode ? &new->status : NULL);
    bool moves_directory = is_directory(&old->status) && old->directory != new->directory;
    return failed(error) || !moves_directory ? error : location_may(old, &old->status, MAY_WRITE); /* its ".." changes */
}

static long rename_to(const struct location *old, const struct location *new, u64 flags) {
    long error = check_rename(old, new, flags);
    return failed(error) ? error : mount_rename(old->mount, old->directory, old->last, new->directory, new->last);
}

long file_set_mode(struct location *location, u64 mode) {
    struct inode *status = &location->status;
    long error = location_owns(location);
    if (failed(error)) return error;
    return volume_set_owner(location->volume, location->inode, (u32)mode & PERMISSIONS, status->uid, status->gid);
}

/* Who changes a file's content and is not root takes set-user-ID away, and set-group-ID where it means that. */
long file_drop_privileges(const struct location *location) {
    const struct inode *status = &location->status;
    u32 dropped = SET_USER | (status->mode & 010 ? SET_GROUP : 0);
    if (!(status->mode & dropped) || location_is_root()) return 0;
    return volume_set_owner(location->volume, location->inode, status->mode & PERMISSIONS & ~dropped, status->uid, status->gid);
}

/* chown(2): who is not root gives nothing away, and set-user-ID does not survive. */
long file_set_owner(struct location *location, u64 uid, u64 gid) {
    const struct inode *status = &location->status;
    u32 user = (u32)uid == KEEP ? status->uid : (u32)uid, group = (u32)gid == KEEP ? status->gid : (u32)gid, mode = status->mode & PERMISSIONS;
    long error = location_owns(location);
    if (failed(error)) return error;
    if (!location_is_root() && (user != status->uid || (group != status->gid && group != (u32)SYS0(__NR_getegid)))) return -EPERM;
    if (!is_directory(status)) mode &= ~(u32)(SET_USER | (mode & 010 ? SET_GROUP : 0));
    return volume_set_owner(location->volume, location->inode, mode, user, group);
}

/* `times`: NULL or two of struct timespec, of which the second counts: files here have no time of access. */
long file_set_times(struct location *location, u64 times) {
    u64 time[4] = {0, TIME_NOW, 0, TIME_NOW};
    if (times && !shield_readable(times, sizeof time)) return -EFAULT;
    if (times) memcpy(time, ptr_of(times), sizeof time);
    for (int i = 1; i < 4; i += 2)
        if (time[i] >= second && time[i] != TIME_NOW && time[i] != TIME_OMIT) return -EINVAL;
    bool is_now = time[1] == TIME_NOW && time[3] == TIME_NOW;
    if (time[1] == TIME_OMIT && time[3] == TIME_OMIT) return 0;
    long error = location_owns(location);
    if (error == -EPERM) error = is_now ? location_may(location, &location->status, MAY_WRITE) : -EPERM;
    if (failed(error) || time[3] == TIME_OMIT) return error;
    return volume_set_time(location->volume, location->inode, time[3] == TIME_NOW ? now() : time[2] * second + time[3]);
}

/* utime(2), utimes(2), futimesat(2): seconds, or microseconds. */
static long set_old_times(struct location *location, const struct call *call) {
    u64 at = call->arg[call->number == __NR_futimesat ? 2 : 1], given[4], time[4] = {0};
    bool micro = call->number != __NR_utime;
    if (!at) return file_set_times(location, 0);
    if (!shield_readable(at, micro ? sizeof given : 2 * sizeof(u64))) return -EFAULT;
    memcpy(given, ptr_of(at), micro ? sizeof given : 2 * sizeof(u64));
    time[2] = micro ? given[2] : given[1];
    time[3] = micro ? given[3] * MICRO : 0;
    if (micro && given[3] >= second / MICRO) return -EINVAL;
    long error = location_owns(location);
    return failed(error) ? error : volume_set_time(location->volume, location->inode, time[2] * second + time[3]);
}

long file_resize(const struct location *location, u64 size) {
    long error = volume_resize(location->volume, location->inode, size);
    if (!failed(error)) file_pool_cut(location, size);
    return failed(error) ? error : file_drop_privileges(location);
}

static long truncate(const struct location *location, u64 size) {
    if (size >> 63) return -EINVAL;
    if (is_directory(&location->status)) return -EISDIR;
    long error = location_may(location, &location->status, MAY_WRITE);
    return failed(error) ? error : file_resize(location, size);
}

static long change_one(struct location *location, const struct call *call) {
    const u64 *a = call->arg;
    switch (call->number) {
    case __NR_mkdir: return make_directory(location, a[1]);
    case __NR_mkdirat: return make_directory(location, a[2]);
    case __NR_mknod: return make_node(location, a[1]);
    case __NR_mknodat: return make_node(location, a[2]);
    case __NR_symlink:
    case __NR_symlinkat: return make_link(location, a[0]);
    default: break;
    }
    if (!location->inode) return -ENOENT;
    switch (call->number) {
    case __NR_rmdir: return remove_name(location, true);
    case __NR_unlink: return remove_name(location, false);
    case __NR_unlinkat: return remove_name(location, a[2] & REMOVE_DIRECTORY);
    case __NR_chmod: return file_set_mode(location, a[1]);
    case __NR_fchmodat:
    case FCHMODAT2: return file_set_mode(location, a[2]);
    case __NR_chown:
    case __NR_lchown: return file_set_owner(location, a[1], a[2]);
    case __NR_fchownat: return file_set_owner(location, a[2], a[3]);
    case __NR_utimensat: return file_set_times(location, a[2]);
    case __NR_utime:
    case __NR_utimes:
    case __NR_futimesat: return set_old_times(location, call);
    case __NR_truncate: return truncate(location, a[1]);
    default: return -EPERM; /* chroot(2), mount(2) */
    }
}

static long change_two(const struct call *call, const struct location *old, const struct location *new) {
    bool links = call->number == __NR_link || call->number == __NR_linkat;
    if (links) return add_link(old, new);
    return rename_to(old, new, call->number == __NR_renameat2 ? call->arg[4] : 0);
}

static bool is_empty(u64 path) { return shield_readable(path, 1) && !*(const char *)ptr_of(path); }

/* Of the kernel's: it would put the name where the host has something of that path. */
static long link_outside(struct call *call) {
    u64 *a = call->arg;
    struct location new;
    if (reserved_may_be((u32)a[0])) return -EBADF;
    long result = location_enter(&new, (int)a[2], a[3], LOCATION_CHANGES | LOCATION_PARENT | LOCATION_NAME);
    if (result == SHIELD_PASS) a[3] = new.native;
    return result ? result : location_leave(&new, -EXDEV);
}

/* linkat(2) of an open file, which AT_EMPTY_PATH is about: who is not root must have opened a nameless one himself. */
static long link_descriptor(struct call *call) {
    const u64 *a = call->arg;
    struct shielded entry;
    struct location old, new;
    if (!table_get((u32)a[0], &entry) || entry.kind != SHIELD_FILE) return link_outside(call);
    if (!location_is_root() && !(entry.access & SHIELDED_LINKABLE)) return -ENOENT;
    long result = location_enter_open_and(&old, &new, &entry, (int)a[2], a[3], LOCATION_CHANGES | LOCATION_PARENT | LOCATION_NAME);
    return result ? result : location_leave(&old, add_link(&old, &new));
}

static long two_paths(struct call *call) {
    u64 *a = call->arg;
    if (call->number == __NR_linkat && a[4] & AT_EMPTY && is_empty(a[1])) return link_descriptor(call);
    bool at_form = call->number != __NR_rename && call->number != __NR_link;
    u32 second_path = at_form ? 3 : 1, first_path = at_form ? 1 : 0;
    const int directories[2] = {at_form ? (int)a[0] : AT_HERE, at_form ? (int)a[2] : AT_HERE};
    const u64 paths[2] = {a[first_path], a[second_path]};
    bool follow = call->number == __NR_linkat && a[4] & FOLLOW_LINK;
    bool links = call->number == __NR_link || call->number == __NR_linkat;
    const u32 flags[2] = {LOCATION_CHANGES | (follow ? LOCATION_FOLLOW : 0U) | (links ? 0U : LOCATION_PARENT | LOCATION_NAME), LOCATION_CHANGES | LOCATION_PARENT | LOCATION_NAME};
    struct location old, new;
    long result = location_enter_two(&old, &new, directories, paths, flags);
    if (result == SHIELD_PASS) a[first_path] = old.native, a[second_path] = new.native;
    return result ? result : location_leave(&old, change_two(call, &old, &new));
}

/* Where a call has its path, and how the path is to be read. */
struct path_form {
    u8 directory, path, flags; /* of location_enter */
};

static struct path_form form_of(const struct call *call) {
    const u64 *a = call->arg;
    enum { F = LOCATION_FOLLOW, C = LOCATION_CHANGES, N = LOCATION_NAME, P = LOCATION_PARENT | LOCATION_NAME };
    switch (call->number) {
    case __NR_mkdir:
    case __NR_mknod: return (struct path_form){NONE, 0, C | P};
    case __NR_mkdirat:
    case __NR_mknodat: return (struct path_form){0, 1, C | P};
    case __NR_symlink: return (struct path_form){NONE, 1, C | P};
    case __NR_symlinkat: return (struct path_form){1, 2, C | P};
    case __NR_rmdir:
    case __NR_unlink: return (struct path_form){NONE, 0, C | N};
    case __NR_lchown: return (struct path_form){NONE, 0, C};
    case __NR_unlinkat: return (struct path_form){0, 1, C | N};
    case __NR_fchmodat: return (struct path_form){0, 1, C | F};
    case FCHMODAT2: return (struct path_form){0, 1, C | (a[3] & NO_FOLLOW ? 0 : F)};
    case __NR_fchownat: return (struct path_form){0, 1, C | (a[4] & NO_FOLLOW ? 0 : F)};
    case __NR_utimensat: return (struct path_form){0, 1, C | (a[3] & NO_FOLLOW ? 0 : F)};
    case __NR_futimesat: return (struct path_form){0, 1, C | F};
    default: return (struct path_form){NONE, 0, C | F};
    }
}

/* utimensat(2) and fchownat(2) of a descriptor itself. */
static long change_descriptor(const struct call *call, int fd) {
    struct shielded entry;
    struct location location;
    if (!table_get((u64)(u32)fd, &entry) || entry.kind != SHIELD_FILE) return SHIELD_PASS;
    long error = location_enter_open(&location, &entry, true);
    return failed(error) ? error : location_leave(&location, change_one(&location, call));
}

static bool is_of_descriptor(const struct call *call) {
    const u64 *a = call->arg;
    if (call->number == __NR_utimensat || call->number == __NR_futimesat) return !a[1];
    bool may_be_empty = (call->number == __NR_fchownat && a[4] & AT_EMPTY) || (call->number == FCHMODAT2 && a[3] & AT_EMPTY);
    return may_be_empty && is_empty(a[1]);
}

static bool has_two_paths(u64 number) {
    return number == __NR_rename || number == __NR_renameat || number == __NR_renameat2 || number == __NR_link || number == __NR_linkat;
}

long file_change_call(struct call *call) {
    struct location location;
    if (has_two_paths(call->number)) return two_paths(call);
    struct path_form form = form_of(call);
    int directory = form.directory == NONE ? AT_HERE : (int)call->arg[form.directory];
    if (is_of_descriptor(call)) return change_descriptor(call, directory);
    long result = location_enter(&location, directory, call->arg[form.path], form.flags);
    if (result == SHIELD_PASS) call->arg[form.path] = location.native;
    return result ? result : location_leave(&location, change_one(&location, call));
}
