/* sendfile(2) to a shielded connection, of the host's files (file_send.c has those that are shielded): read and sealed like any others. */
#include "bytes.h"
#include "socket.h"
#include "table.h"

enum { FROM_HERE = 1, FROM_START = 0 };

static bool get_offset(const struct call *call, u64 address, u64 *offset) {
    struct lock_guard lock;
    shield_lock(&lock, call);
    const bool usable = shield_writable(address, sizeof *offset);
    if (usable) *offset = *(u64 *)ptr_of(address);
    lock_give(&lock);
    return usable;
}

static long send_from(struct call *call, int fd, struct connection *c, u64 offset, u8 *block) {
    const u64 from = (u32)call->arg[1], wanted = min_u64(call->arg[3], 0x7ffff000);
    u64 done = 0;
    while (done < wanted) {
        const u64 size = min_u64(wanted - done, 2 * TLS_PLAIN_MOST);
        const long n = SYS4(__NR_pread64, from, block, size, offset + done);
        if (n <= 0) return done ? (long)done : n;
        const struct vector one = {addr_of(block), (u64)n};
        struct buffers buffers = {.vector = &one, .count = 1, .left = (u64)n};
        const long sent = socket_send(call, fd, c, &buffers, (u64)n == size && done + size < wanted ? MESSAGE_MORE : 0);
        if (sent == SOCKET_GONE) return sent;
        if (failed(sent)) return done ? (long)done : sent;
        done += (u64)sent;
        if (sent < n) break;
    }
    return (long)done;
}

long socket_send_file(struct call *call, int fd, struct connection *c) {
    const u64 from = (u32)call->arg[1];
    u64 offset;
    if (table_has(from)) return -EINVAL;
    if (call->arg[2]) {
        if (!get_offset(call, call->arg[2], &offset)) return -EFAULT;
    } else {
        const long at = SYS3(__NR_lseek, from, 0, FROM_HERE);
        if (failed(at)) return -EINVAL;
        offset = (u64)at;
    }
    u8 *block = socket_block();
    if (!block) return -ENOBUFS;
    const long sent = send_from(call, fd, c, offset, block);
    wipe(block, 2 * TLS_PLAIN_MOST);
    socket_block_drop(block);
    if (sent <= 0) return sent;
    offset += (u64)sent;
    if (call->arg[2]) memcpy(ptr_of(call->arg[2]), &offset, sizeof offset);
    else SYS3(__NR_lseek, from, offset, FROM_START);
    return sent;
}
