/* open(2) and its kind, creat(2). */
#include <linux/fcntl.h>

#include "access.h"
#include "file.h"
#include "kept_path.h"
#include "ledger.h"
#include "table.h"
#include "working.h"

enum { PERMISSIONS = 07777, SET_GROUP = 02000, TEMPORARY = O_TMPFILE & ~O_DIRECTORY };

struct how { /* struct open_how */
    u64 flags, mode, resolve;
};

struct opening {
    int directory;
    u32 path_arg, mode;
    u64 flags;
};

static long read_call(const struct call *call, struct opening *out) {
    const u64 *a = call->arg;
    switch (call->number) {
    case __NR_open: *out = (struct opening){AT_HERE, 0, (u32)a[2], a[1]}; return 0;
    case __NR_creat: *out = (struct opening){AT_HERE, 0, (u32)a[1], O_CREAT | O_WRONLY | O_TRUNC}; return 0;
    case __NR_openat: *out = (struct opening){(int)a[0], 1, (u32)a[3], a[2]}; return 0;
    default: break;
    }
    const struct how *how = ptr_of(a[2]);
    if (a[3] < sizeof *how) return -EINVAL;
    if (!can_read(a[2], sizeof *how)) return -EFAULT;
    *out = (struct opening){(int)a[0], 1, (u32)how->mode, how->flags};
    return how->resolve ? -ENOSYS : 0; /* another way of walking; callers know kernels without */
}

static bool writes(u64 flags) { return (flags & O_ACCMODE) != O_RDONLY; }
static bool is_temporary(u64 flags) { return flags & TEMPORARY && !(flags & O_PATH); }

static u32 wanted(u64 flags) {
    u64 mode = flags & O_ACCMODE;
    return (mode != O_WRONLY ? MAY_READ : 0U) | (mode != O_RDONLY || flags & O_TRUNC ? MAY_WRITE : 0U);
}

static long check_existing(const struct location *location, const struct opening *open) {
    u32 type = location->status.mode & TYPE_MASK;
    u64 flags = open->flags;
    if (flags & O_CREAT && flags & O_EXCL) return -EEXIST;
    if (type == LINK) return flags & O_PATH ? 0 : -ELOOP;
    if (flags & O_DIRECTORY && type != DIRECTORY) return -ENOTDIR;
    if (flags & O_PATH) return 0;
    if (type == DIRECTORY && (writes(flags) || flags & (O_CREAT | O_TRUNC))) return -EISDIR;
    return location_may(location, &location->status, wanted(flags));
}

/* A directory's group goes to what is made in it where the directory says so. */
static long group_for(const struct location *location, u64 number) {
    struct inode directory;
    long error = volume_status(location->volume, number, &directory);
    if (failed(error)) return error;
    return directory.mode & SET_GROUP ? (long)directory.gid : SYS0(__NR_getegid);
}

static u32 mode_for(const struct opening *open) { return REGULAR | (open->mode & PERMISSIONS & ~working_mask()); }

static long take_made(struct location *location, long inode) {
    if (failed(inode)) return inode;
    location->inode = (u64)inode;
    return volume_status(location->volume, location->inode, &location->status);
}

static long make(struct location *location, const struct opening *open) {
    long error = location_may_change_directory(location, NULL);
    long group = failed(error) ? error : group_for(location, location->directory);
    if (failed(group)) return group;
    return take_made(location, volume_make(location->volume, location->directory, location->last, mode_for(open), (u32)SYS0(__NR_geteuid), (u32)group));
}

/* O_TMPFILE: the path is that of a directory, which only says where the file could get a name. */
static long make_nameless(struct location *location, const struct opening *open) {
    static char name[PATH_SIZE];
    if (!location->inode) return -ENOENT;
    if ((location->status.mode & TYPE_MASK) != DIRECTORY) return -ENOTDIR;
    if (!location->status.links) return -ENOENT;
    long error = location_may(location, &location->status, MAY_WRITE | MAY_EXECUTE);
    long group = failed(error) ? error : group_for(location, location->inode);
    if (failed(group)) return group;
    error = take_made(location, volume_make_nameless(location->volume, mode_for(open), (u32)SYS0(__NR_geteuid), (u32)group));
    if (failed(error)) return error;
    append_number(name, append(name, append(name, 0, PATH_SIZE, location->full), PATH_SIZE, "/#"), PATH_SIZE, location->inode);
    location->full = name;
    return 0;
}

static long prepare(struct location *location, const struct opening *open) {
    if (is_temporary(open->flags)) return make_nameless(location, open);
    if (open->flags & O_CREAT && location->ends_in_slash && !location->dots) return -EISDIR;
    if (!location->inode) return open->flags & O_CREAT ? make(location, open) : -ENOENT;
    long error = check_existing(location, open);
    if (failed(error) || !(open->flags & O_TRUNC) || open->flags & O_PATH) return error;
    return file_resize(location, 0);
}

/* Those that fcntl(2) tells, and the description in the kernel does not keep. */
static u32 lasting(u64 flags) {
    u64 shown = O_NOFOLLOW | O_DIRECTORY;
    return (u32)(flags & O_PATH ? flags & (O_PATH | shown) : flags & (O_ACCMODE | O_SYNC | O_DSYNC | TEMPORARY | shown));
}

static long enter_table(const struct location *location, u64 flags, long fd) {
    struct shielded entry = {.kind = SHIELD_FILE, .region = (u8)location->region->index, .object = location->inode,
                             .access = lasting(flags)};
    bool directory = (location->status.mode & TYPE_MASK) == DIRECTORY;
    long path = kept_path_put(location->full);
    if (failed(path) && directory) return path; /* it is needed to find what is below; of others, only readlink(2) wants to know */
    if (!failed(path)) entry.path = (u16)path;
    if (directory) entry.access |= SHIELDED_DIRECTORY;
    if (is_temporary(flags) && !(flags & O_EXCL)) entry.access |= SHIELDED_LINKABLE;
    return table_put((u64)fd, &entry);
}

static long give_descriptor(const struct location *location, u64 flags) {
    long fd = ledger_open(flags & O_PATH ? flags & O_CLOEXEC : flags);
    if (failed(fd)) return fd;
    long error = enter_table(location, flags, fd);
    if (!failed(error)) return fd;
    SYS1(__NR_close, fd);
    return error;
}

/* Nobody has it open, nobody ever can. */
static void forget_nameless(const struct location *location) {
    mount_hold(location->mount, location->inode);
    mount_drop(location->mount, location->inode);
}

static u32 location_flags(u64 flags) {
    bool exclusive = flags & O_CREAT && flags & O_EXCL, changes = writes(flags) || flags & (O_CREAT | O_TRUNC);
    return (flags & O_NOFOLLOW || exclusive ? 0U : LOCATION_FOLLOW) | (changes ? LOCATION_CHANGES : 0U) | (flags & O_CREAT ? LOCATION_PARENT | LOCATION_FILE : 0U);
}

static long check_flags(u64 flags) {
    if (!is_temporary(flags)) return 0;
    return (flags & (O_TMPFILE | O_CREAT)) == O_TMPFILE && writes(flags) ? 0 : -EINVAL;
}

long file_open_call(struct call *call) {
    struct opening open;
    struct location location;
    long result = read_call(call, &open);
    if (!failed(result)) result = check_flags(open.flags);
    if (failed(result)) return result;
    result = location_enter(&location, open.directory, call->arg[open.path_arg], location_flags(open.flags));
    if (result == SHIELD_PASS) call->arg[open.path_arg] = location.native;
    if (result) return result;
    result = prepare(&location, &open);
    bool made = !failed(result);
    if (made) result = give_descriptor(&location, open.flags);
    if (made && failed(result) && is_temporary(open.flags)) forget_nameless(&location);
    return location_leave(&location, result);
}
