/* Bytes of shielded files: read(2), write(2) and their kin. The volume stays entered, so a call is one step to all others. The offset
 * is the descriptor's in the kernel, shared with whoever inherited it. */
#include <linux/fcntl.h>
#include <linux/uio.h>

#include "file.h"
#include "file_pool.h"

enum { SEEK_BEGIN = 0, SEEK_HERE = 1, APPENDING = 0x10 /* RWF_APPEND */, SYNCING = 0x2 | 0x4 /* RWF_DSYNC, RWF_SYNC */, RW_FLAGS = 0x1f };

static const u64 most_at_once = 0x7ffff000; /* MAX_RW_COUNT */
static const u64 here = ~0UL;

struct span { /* struct iovec */
    u64 at, length;
};

struct transfer {
    struct span one;
    u64 array, count, offset, flags;
    bool is_array, writes;
};

static bool read_call(const struct call *call, struct transfer *out) {
    const u64 *a = call->arg;
    *out = (struct transfer){.one = {a[1], a[2]}, .array = a[1], .count = 1, .offset = here};
    switch (call->number) {
    case __NR_write: out->writes = true; return true;
    case __NR_read: return true;
    case __NR_pwrite64: out->writes = true; break;
    case __NR_pread64: break;
    case __NR_writev:
    case __NR_pwritev:
    case __NR_pwritev2: out->writes = true; out->is_array = true; break;
    case __NR_readv:
    case __NR_preadv:
    case __NR_preadv2: out->is_array = true; break;
    default: return false;
    }
    if (out->is_array) out->count = a[2];
    bool flagged = call->number == __NR_preadv2 || call->number == __NR_pwritev2;
    if (flagged) out->flags = a[5];
    if (call->number != __NR_readv && call->number != __NR_writev) out->offset = a[3];
    return flagged || out->offset >> 63 == 0 || out->offset == here;
}

static long get_span(const struct transfer *transfer, u64 i, struct span *out) {
    u64 at = transfer->array + i * sizeof *out;
    if (!transfer->is_array) *out = transfer->one;
    else if (!shield_readable(at, sizeof *out)) return -EFAULT;
    else memcpy(out, ptr_of(at), sizeof *out);
    return out->length >> 63 ? -EINVAL : 0;
}

static long check(const struct transfer *transfer, const struct call *call, const struct shielded *entry) {
    struct span span;
    u64 mode = entry->access & O_ACCMODE;
    if (entry->access & O_PATH || mode == (transfer->writes ? O_RDONLY : O_WRONLY)) return -EBADF;
    if (transfer->is_array && transfer->count > UIO_MAXIOV) return -EINVAL;
    if (transfer->flags & ~(u64)RW_FLAGS) return -EOPNOTSUPP;
    bool placed = call->number == __NR_pread64 || call->number == __NR_pwrite64 || call->number == __NR_preadv || call->number == __NR_pwritev;
    if (placed && transfer->offset >> 63) return -EINVAL;
    for (u64 i = 0; i < transfer->count; i++) {
        long error = get_span(transfer, i, &span);
        if (failed(error)) return error;
    }
    return 0;
}

static long move_span(const struct location *location, const struct transfer *transfer, struct span span, u64 offset) {
    if (!span.length) return 0;
    if (transfer->writes && !shield_readable(span.at, span.length)) return -EFAULT;
    if (!transfer->writes && !shield_writable(span.at, span.length)) return -EFAULT;
    if (transfer->writes) return file_pool_write(location, offset, ptr_of(span.at), span.length);
    return file_pool_read(location, offset, ptr_of(span.at), span.length);
}

static long move_all(const struct location *location, const struct transfer *transfer, u64 offset) {
    u64 done = 0;
    for (u64 i = 0; i < transfer->count && done < most_at_once; i++) {
        struct span span;
        long n = get_span(transfer, i, &span);
        span.length = min_u64(span.length, most_at_once - done);
        if (!failed(n)) n = move_span(location, transfer, span, offset + done);
        if (failed(n)) return done ? (long)done : n;
        done += (u64)n;
        if ((u64)n < span.length) break;
    }
    return (long)done;
}

static bool appends(const struct transfer *transfer, int fd) {
    if (!transfer->writes) return false;
    return transfer->flags & APPENDING || SYS2(__NR_fcntl, fd, F_GETFL) & O_APPEND;
}

static long transfer_entered(const struct location *location, const struct transfer *transfer, int fd, u32 access) {
    if ((location->status.mode & TYPE_MASK) == DIRECTORY) return -EISDIR;
    bool keeps = transfer->offset == here; /* the descriptor's offset moves */
    long offset = keeps ? SYS3(__NR_lseek, fd, 0, SEEK_HERE) : (long)transfer->offset;
    if (failed(offset)) return offset;
    if (appends(transfer, fd)) offset = (long)location->status.size;
    long n = move_all(location, transfer, (u64)offset);
    if (n > 0 && keeps) SYS3(__NR_lseek, fd, offset + n, SEEK_BEGIN);
    if (n > 0 && transfer->writes) {
        long error = file_drop_privileges(location);
        if (failed(error)) return error;
    }
    if (n > 0 && transfer->writes && (access & O_DSYNC || transfer->flags & SYNCING)) {
        long error = file_sync(location);
        if (failed(error)) return error;
    }
    return n;
}

long file_transfer_call(struct call *call, int fd, const struct shielded *entry) {
    struct transfer transfer;
    struct location location;
    if (!read_call(call, &transfer)) return -EINVAL;
    long error = check(&transfer, call, entry);
    if (!failed(error)) error = location_enter_open(&location, entry, transfer.writes);
    if (failed(error)) return error;
    return location_leave(&location, transfer_entered(&location, &transfer, fd, entry->access));
}

enum { SEEK_END_OF = 2, SEEK_BYTES = 3, SEEK_GAP = 4 };

static long seek_from(const struct location *location, int fd, long offset, u64 whence) {
    long size = (long)location->status.size;
    if (whence == SEEK_END_OF) {
        if (offset > 0 && size + offset < 0) return -EOVERFLOW;
        return size + offset < 0 ? -EINVAL : SYS3(__NR_lseek, fd, size + offset, SEEK_BEGIN);
    }
    if (offset < 0 || offset >= size) return -ENXIO;
    long found = whence == SEEK_BYTES ? offset : size; /* where something is mapped, all is data: the volume may not have it yet */
    bool known = !file_pool_is_used(location->region->index) && (location->status.mode & TYPE_MASK) == REGULAR;
    if (known && whence == SEEK_BYTES) found = volume_data_after(location->volume, location->inode, (u64)offset);
    if (known && whence == SEEK_GAP) found = volume_hole_after(location->volume, location->inode, (u64)offset);
    return failed(found) ? found : SYS3(__NR_lseek, fd, found, SEEK_BEGIN);
}

long file_seek_call(struct call *call, int fd, const struct shielded *entry) {
    struct location location;
    u64 whence = call->arg[2];
    if (entry->access & O_PATH) return -EBADF;
    if (whence == SEEK_BEGIN || whence == SEEK_HERE) return SHIELD_PASS;
    if (whence > SEEK_GAP) return -EINVAL;
    long error = location_enter_open(&location, entry, false);
    return failed(error) ? error : location_leave(&location, seek_from(&location, fd, (long)call->arg[1], whence));
}
