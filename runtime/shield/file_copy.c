/* copy_file_range(2) between shielded files, also of different volumes: read into a buffer of the runtime's, written from there. Each
 * piece is one step to all others; a call of many bytes is not, as natively. */
#include <linux/fcntl.h>

#include "file.h"
#include "file_buffer.h"
#include "table.h"

enum { SEEK_BEGIN = 0, SEEK_HERE = 1, MOST_AT_ONCE = 4 << 20 /* what is left the caller asks for again: signals are not kept waiting */ };

/* One of the two files: its descriptor, and where the program keeps the offset (0: the descriptor does). */
struct end {
    int fd;
    u64 pointer, offset;
    struct shielded entry;
    u64 inode_size;
};

/* With the lock held. */
static long look_at(struct end *end) {
    struct location location;
    if (!table_get((u64)(u32)end->fd, &end->entry)) return -EBADF;
    if (end->pointer && !shield_writable(end->pointer, sizeof(u64))) return -EFAULT;
    long offset = end->pointer ? *(long *)ptr_of(end->pointer) : SYS3(__NR_lseek, end->fd, 0, SEEK_HERE);
    if (offset < 0) return failed(offset) && !end->pointer ? offset : -EINVAL;
    end->offset = (u64)offset;
    long error = location_enter_open(&location, &end->entry, false);
    if (failed(error)) return error;
    u32 type = location.status.mode & TYPE_MASK;
    end->inode_size = location.status.size;
    return location_leave(&location, type == REGULAR ? 0 : type == DIRECTORY ? -EISDIR : -EINVAL);
}

static bool is_open_for(const struct end *end, bool writing) {
    u64 mode = end->entry.access & O_ACCMODE;
    if (end->entry.access & O_PATH || mode == (writing ? O_RDONLY : O_WRONLY)) return false;
    return !writing || !(SYS2(__NR_fcntl, end->fd, F_GETFL) & O_APPEND);
}

static long check(struct end *from, struct end *to, u64 size) {
    long error = look_at(from);
    if (!failed(error)) error = look_at(to);
    if (failed(error)) return error;
    if (!is_open_for(from, false) || !is_open_for(to, true)) return -EBADF;
    if (from->offset + size < from->offset || to->offset + size < to->offset) return -EOVERFLOW;
    bool same = from->entry.region == to->entry.region && from->entry.object == to->entry.object;
    u64 left = from->offset < from->inode_size ? min_u64(size, from->inode_size - from->offset) : 0;
    u64 apart = from->offset < to->offset ? to->offset - from->offset : from->offset - to->offset;
    return same && apart < left ? -EINVAL : 0;
}

static long move_piece(const struct call *call, u64 number, const struct end *end, u64 buffer, u64 size) {
    struct call piece = {.number = number, .arg = {(u64)(u32)end->fd, buffer, size, end->offset}, .frame = call->frame};
    return shield_call(&piece);
}

static void move_on(struct end *end, u64 size) {
    end->offset += size;
    if (!end->pointer) SYS3(__NR_lseek, end->fd, end->offset, SEEK_BEGIN);
    else if (shield_writable(end->pointer, sizeof(u64))) *(u64 *)ptr_of(end->pointer) = end->offset;
}

static void move_both(const struct call *call, struct end *from, struct end *to, u64 size) {
    struct lock_guard lock;
    lock_take(&lock, call->frame != NULL);
    move_on(from, size);
    move_on(to, size);
    lock_give(&lock);
}

static long copy(const struct call *call, struct end *from, struct end *to, u64 size, u8 *buffer) {
    u64 done = 0;
    long n = 0;
    while (done < size) {
        n = move_piece(call, __NR_pread64, from, addr_of(buffer), min_u64(size - done, FILE_BUFFER));
        if (n > 0) n = move_piece(call, __NR_pwrite64, to, addr_of(buffer), (u64)n);
        if (n <= 0) break;
        move_both(call, from, to, (u64)n);
        done += (u64)n;
    }
    return done ? (long)done : n;
}

long file_copy(struct call *call) {
    const u64 *a = call->arg;
    struct end from = {.fd = (int)a[0], .pointer = a[1]}, to = {.fd = (int)a[2], .pointer = a[3]};
    struct lock_guard lock;
    u32 number;
    if (a[5]) return -EINVAL;
    lock_take(&lock, call->frame != NULL);
    long error = check(&from, &to, a[4]);
    lock_give(&lock);
    if (failed(error)) return error;
    u8 *buffer = file_buffer_take(&number);
    if (!buffer) return -EXDEV; /* the caller reads and writes */
    long n = copy(call, &from, &to, min_u64(a[4], MOST_AT_ONCE), buffer);
    file_buffer_give(number);
    return n;
}
