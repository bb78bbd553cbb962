/* What stat(2), access(2) and their kin say of injected files. The kernel is asked about a placeholder, so that all that does not
 * matter is as usual; a file must have one inode number whenever it is asked for, and be linked. */
#include <asm/stat.h>
#include <linux/stat.h>

#include "access.h"
#include "opening.h"
#include "placeholder.h"
#include "state.h"

enum { READABLE = 4, ALL_ACCESS = 7, SECTOR = 512, NO_FOLLOW = 0x100 /* AT_SYMLINK_NOFOLLOW */ };

/* Not on the stack: a signal stack may be small. Owned by whoever holds the lock. */
static char given[PATH_SIZE] BEHIND, full[PATH_SIZE] BEHIND;

/* A path as a call gives it. */
struct place {
    int directory;
    const char *path;
    bool may_be_empty; /* then `directory` is the file itself */
    bool follow;       /* what a link refers to is meant, not the link */
};

static bool copy_path(const char *from) {
    for (size_t i = 0; i < PATH_SIZE; i++) {
        if ((i == 0 || addr_of(from + i) % PAGE == 0) && !can_read(addr_of(from + i), 1)) return false;
        given[i] = from[i];
        if (!given[i]) return true;
    }
    return false;
}

static bool find_path(const struct place *place, struct file *out) {
    if (!copy_path(place->path) || !given[0]) return false;
    if (!path_normalise(place->directory, given, full, sizeof full)) return false;
    int named = place->follow ? file_descriptor_in(full) : -1;
    return named >= 0 ? placeholder_find(named, out) == 0 : file_called(full, out);
}

static bool find(const struct place *place, struct file *out) {
    if (place->path && find_path(place, out)) return true;
    if (!place->may_be_empty || (place->path && (!can_read(addr_of(place->path), 1) || *place->path))) return false;
    return placeholder_find(place->directory, out) == 0;
}

static u64 inode_of(const struct file *file) { return placeholder_tag(file) >> 16; }

static void correct(struct stat *info, const struct file *file) {
    info->st_ino = inode_of(file);
    info->st_nlink = 1;
    info->st_blocks = (long)(page_up(file->size) / SECTOR);
    info->st_atime = info->st_mtime = info->st_ctime = files_changed_at();
    info->st_atime_nsec = info->st_mtime_nsec = info->st_ctime_nsec = 0;
}

static void correct_extended(struct statx *info, const struct file *file) {
    const struct statx_timestamp time = {.tv_sec = (long)files_changed_at()};
    info->stx_ino = inode_of(file);
    info->stx_nlink = 1;
    info->stx_blocks = page_up(file->size) / SECTOR;
    info->stx_atime = info->stx_mtime = info->stx_ctime = info->stx_btime = time;
}

/* The kernel fills the program's memory, or says that it cannot; the lock keeps it mapped. */
static long describe(const struct call *call, const struct file *file) {
    const u64 *a = call->arg;
    bool extended = call->number == __NR_statx;
    u64 to = extended ? a[4] : call->number == __NR_newfstatat ? a[2] : a[1];
    long fd = placeholder_create(file);
    if (failed(fd)) return fd;
    long error = extended ? SYS5(__NR_statx, fd, "", a[2] | AT_EMPTY, a[3], to) : SYS2(__NR_fstat, fd, to);
    SYS1(__NR_close, fd);
    if (failed(error)) return error;
    if (extended) correct_extended(ptr_of(to), file);
    else correct(ptr_of(to), file);
    return 0;
}

static long check_access(u64 mode) {
    if (mode & ~(u64)ALL_ACCESS) return -EINVAL;
    return mode & ~(u64)READABLE ? -EACCES : 0;
}

static struct place place_of(const struct call *call) {
    const u64 *a = call->arg;
    switch (call->number) {
    case __NR_newfstatat: return (struct place){(int)a[0], ptr_of(a[1]), a[3] & AT_EMPTY, !(a[3] & NO_FOLLOW)};
    case __NR_statx: return (struct place){(int)a[0], ptr_of(a[1]), a[2] & AT_EMPTY, !(a[2] & NO_FOLLOW)};
    case __NR_faccessat:
    case __NR_faccessat2: return (struct place){(int)a[0], ptr_of(a[1]), false, true};
    case __NR_fstat: return (struct place){(int)a[0], NULL, true, false};
    default: return (struct place){AT_HERE, ptr_of(a[0]), false, call->number == __NR_stat || call->number == __NR_access};
    }
}

static long answer(const struct call *call) {
    struct file file;
    struct place place = place_of(call);
    if (!find(&place, &file)) return NOT_INJECTED;
    switch (call->number) {
    case __NR_access: return check_access(call->arg[1]);
    case __NR_faccessat:
    case __NR_faccessat2: return check_access(call->arg[2]);
    case __NR_getxattr:
    case __NR_lgetxattr:
    case __NR_listxattr:
    case __NR_llistxattr: return -EOPNOTSUPP;
    default: return describe(call, &file);
    }
}

/* fstat(3) of another file, as libc calls it: often. */
static bool is_other_descriptor(const struct call *call) {
    struct place place = place_of(call);
    if (!place.may_be_empty || place.directory < 0 || placeholder_is(place.directory)) return false;
    return !place.path || (can_read(addr_of(place.path), 1) && !*place.path);
}

long files_path_call(struct call *call) {
    struct lock_guard lock;
    const u64 *a = call->arg;
    if (is_other_descriptor(call)) return SYS6((long)call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
    lock_take(&lock, call->frame != NULL);
    long result = answer(call);
    lock_give(&lock);
    return result == NOT_INJECTED ? SYS6((long)call->number, a[0], a[1], a[2], a[3], a[4], a[5]) : result;
}

bool files_have(struct call *call, int directory, const char *path) {
    struct lock_guard lock;
    struct file file;
    const struct place place = {directory, path, false, false};
    if (!state.files.size) return false;
    lock_take(&lock, call->frame != NULL);
    bool found = find(&place, &file);
    lock_give(&lock);
    return found;
}
