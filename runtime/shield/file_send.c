/* sendfile(2) from a shielded file: read into a buffer of the runtime's, written from there as write(2) writes, so that a shielded socket
 * seals it. */
#include "file.h"
#include "file_buffer.h"
#include "table.h"

enum { SEEK_BEGIN = 0, SEEK_HERE = 1 };

/* The next piece, from where the program says or the descriptor stands. */
static long read_piece(const struct call *call, int fd, u8 *to, u64 size, u64 *offset) {
    struct lock_guard lock;
    struct call piece = {.number = __NR_pread64, .arg = {(u64)(u32)fd, addr_of(to), size}};
    struct shielded entry;
    long n = -EBADF;
    lock_take(&lock, call->frame != NULL);
    u64 at = call->arg[2];
    if (at && !shield_writable(at, sizeof *offset)) n = -EFAULT;
    else if (table_get((u64)(u32)fd, &entry)) {
        *offset = at ? *(u64 *)ptr_of(at) : (u64)SYS3(__NR_lseek, fd, 0, SEEK_HERE);
        piece.arg[3] = *offset;
        n = file_transfer_call(&piece, fd, &entry);
    }
    lock_give(&lock);
    return n;
}

static void move_on(const struct call *call, int fd, u64 offset) {
    if (call->arg[2]) *(u64 *)ptr_of(call->arg[2]) = offset;
    else SYS3(__NR_lseek, fd, offset, SEEK_BEGIN);
}

static long write_piece(const struct call *call, u64 to, const u8 *from, u64 size) {
    struct call piece = {.number = __NR_write, .arg = {to, addr_of(from), size}, .frame = call->frame};
    long n = shield_call(&piece);
    if (n != SHIELD_PASS) return n;
    shield_unblock(call);
    n = SYS3(__NR_write, to, from, size);
    shield_block(call);
    return n;
}

long file_send(struct call *call, int fd) {
    u64 done = 0, count = call->arg[3], offset;
    u32 number;
    u8 *buffer = file_buffer_take(&number);
    long n = buffer ? 0 : -EAGAIN;
    while (buffer && done < count) {
        n = read_piece(call, fd, buffer, min_u64(count - done, FILE_BUFFER), &offset);
        if (n <= 0) break;
        long written = write_piece(call, call->arg[0], buffer, (u64)n);
        if (written > 0) {
            done += (u64)written;
            move_on(call, fd, offset + (u64)written);
        }
        bool all = written == n;
        n = written;
        if (!all) break;
    }
    if (buffer) file_buffer_give(number);
    return done ? (long)done : n;
}
