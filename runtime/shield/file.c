/* Calls on descriptors of shielded files. */
#include "file.h"

#include <linux/falloc.h>
#include <linux/fcntl.h>

#include "file_lock.h"
#include "file_pool.h"
#include "location.h"

static bool may_write(const struct shielded *entry) { return !(entry->access & O_PATH) && (entry->access & O_ACCMODE) != O_RDONLY; }

static long resize(const struct location *location, const struct shielded *entry, u64 size) {
    if (entry->access & O_PATH) return -EBADF;
    if ((location->status.mode & TYPE_MASK) != REGULAR || size >> 63) return -EINVAL;
    return may_write(entry) ? file_resize(location, size) : -EINVAL;
}

/* There is room when a block is written, not before: what is asked for is the size. */
static long allocate(const struct location *location, const struct shielded *entry, const u64 *a) {
    static const u8 zeros[BLOCK];
    u64 mode = a[1], start = a[2], length = a[3], end = start + length;
    if (entry->access & O_PATH) return -EBADF;
    if ((long)start < 0 || (long)length <= 0) return -EINVAL;
    if (!may_write(entry)) return -EBADF;
    if ((long)end < 0) return -EFBIG;
    if (mode == FALLOC_FL_KEEP_SIZE) return 0;
    if (mode == 0) return end > location->status.size ? file_resize(location, end) : 0;
    if (mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE) && mode != (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)) return -EOPNOTSUPP;
    end = min_u64(end, location->status.size);
    if (start >= end) return 0;
    if (!file_pool_is_used(location->region->index)) return volume_punch(location->volume, location->inode, start, end - start);
    for (u64 at = start; at < end;) {
        u64 piece = min_u64(BLOCK - at % BLOCK, end - at);
        long n = file_pool_write(location, at, zeros, piece);
        if (failed(n)) return n;
        at += piece;
    }
    return 0;
}

long file_sync(const struct location *location) {
    long error = file_pool_store(location, location->inode);
    return failed(error) ? error : mount_sync(location->mount);
}

static bool changes(u64 number) {
    switch (number) {
    case __NR_fsync:
    case __NR_fdatasync:
    case __NR_ftruncate:
    case __NR_fallocate:
    case __NR_fchmod:
    case __NR_fchown: return true;
    default: return false;
    }
}

static long answer_entered(struct location *location, const struct call *call, const struct shielded *entry) {
    const u64 *a = call->arg;
    switch (call->number) {
    case __NR_fstat: return file_tell_status(location, a[1]);
    case __NR_fstatfs: return file_tell_system(a[1]);
    case __NR_ftruncate: return resize(location, entry, a[1]);
    case __NR_fallocate: return allocate(location, entry, a);
    case __NR_fchmod: return entry->access & O_PATH ? -EBADF : file_set_mode(location, a[1]);
    case __NR_fchown: return entry->access & O_PATH ? -EBADF : file_set_owner(location, a[1], a[2]);
    default: return entry->access & O_PATH ? -EBADF : file_sync(location);
    }
}

static long answer_in_volume(const struct call *call, const struct shielded *entry) {
    struct location location;
    long error = location_enter_open(&location, entry, changes(call->number));
    return failed(error) ? error : location_leave(&location, answer_entered(&location, call, entry));
}

/* The description has O_RDWR and none of what the program asked for beside it. */
static long flags_of(int fd, const struct shielded *entry) {
    long flags = SYS2(__NR_fcntl, fd, F_GETFL);
    return failed(flags) ? flags : (flags & ~(long)(O_ACCMODE | O_LARGEFILE)) | (long)(entry->access & ~(u32)SHIELDED_OWN) | O_LARGEFILE;
}

enum { CLOSE_ON_EXECUTE = 0x5451 /* FIOCLEX */, KEEP_ON_EXECUTE = 0x5450, BYTES_THERE = 0x541b /* FIONREAD */, NO_BLOCKING = 0x5421 };

static long control(const struct call *call, int fd, const struct shielded *entry) {
    struct location location;
    u64 request = (u32)call->arg[1];
    if (request == CLOSE_ON_EXECUTE || request == KEEP_ON_EXECUTE || request == NO_BLOCKING) return SHIELD_PASS;
    if (request != BYTES_THERE) return -ENOTTY;
    if (!shield_writable(call->arg[2], sizeof(int))) return -EFAULT;
    long error = location_enter_open(&location, entry, false);
    if (failed(error)) return error;
    long at = SYS3(__NR_lseek, fd, 0, 1), rest = (long)location.status.size - at;
    *(int *)ptr_of(call->arg[2]) = rest > 0x7fffffff ? 0x7fffffff : (int)rest;
    return location_leave(&location, 0);
}

long file_call(struct call *call, int fd, const struct shielded *entry, struct later *later) {
    if (file_lock_is(call)) return file_lock_call(call, fd, entry, later);
    switch (call->number) {
    case __NR_read:
    case __NR_write:
    case __NR_pread64:
    case __NR_pwrite64:
    case __NR_readv:
    case __NR_writev:
    case __NR_preadv:
    case __NR_pwritev:
    case __NR_preadv2:
    case __NR_pwritev2: return file_transfer_call(call, fd, entry);
    case __NR_lseek: return file_seek_call(call, fd, entry);
    case __NR_getdents:
    case __NR_getdents64: return file_list_call(call, fd, entry);
    case __NR_fstat:
    case __NR_fstatfs:
    case __NR_ftruncate:
    case __NR_fallocate:
    case __NR_fchmod:
    case __NR_fchown:
    case __NR_fsync:
    case __NR_fdatasync:
    case __NR_sync_file_range:
    case __NR_syncfs: return answer_in_volume(call, entry);
    case __NR_ioctl: return control(call, fd, entry);
    case __NR_fcntl:
        if (call->arg[1] == F_GETFL) return flags_of(fd, entry);
        if (call->arg[1] == F_GET_SEALS || call->arg[1] == F_ADD_SEALS) return -EINVAL; /* the ledger has some */
        return entry->access & O_PATH && call->arg[1] != F_GETFD && call->arg[1] != F_SETFD ? -EBADF : SHIELD_PASS;
    case __NR_fadvise64:
    case __NR_readahead: return 0;
    case __NR_flistxattr: return 0;
    case __NR_fgetxattr:
    case __NR_fsetxattr:
    case __NR_fremovexattr: return -EOPNOTSUPP;
    case __NR_copy_file_range: return -EXDEV; /* callers read and write instead */
    case __NR_sendfile:
    case __NR_tee:
    case __NR_splice: return -EINVAL; /* the same */
    default: return entry->access & O_PATH ? -EBADF : -ENOTSOCK;
    }
}

void file_hold(const struct shielded *entry, bool more) {
    struct location location;
    struct mount *entered = location_entered(entry->region);
    if (!entered && failed(location_enter_open(&location, entry, !more))) return;
    if (more) mount_hold(entered ? entered : location.mount, entry->object);
    else mount_drop(entered ? entered : location.mount, entry->object);
    if (!entered) (void)!location_leave(&location, 0);
}

void file_copied(const struct shielded *entry) { file_hold(entry, true); }

void file_closed(const struct shielded *entry) {
    file_lock_closed(entry);
    file_hold(entry, false);
}
