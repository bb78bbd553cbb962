/* Making sealed pipes, and what becomes of a descriptor's calls. */
#include "pipe.h"

#include <asm/ioctls.h>
#include <linux/fcntl.h>

#include "buffers.h"
#include "guard_pipe_words.h"
#include "open_again.h"
#include "outside.h"
#include "table.h"

/* Twice what the program sees, for records take more room than what they carry. */
enum { ROOM_FACTOR = 2, USUAL_ROOM = 64 << 10, PACKETS = O_DIRECT, KNOWN_FLAGS = O_CLOEXEC | O_NONBLOCK };
enum { FAMILY_UNIX = 1, STREAM = 1, TYPE_MASK = 15 };

static bool any; /* there may be some */

void pipe_inherited(void) { any = true; }

static long put(u64 fd, u8 ends, u32 access, u64 id) {
    const struct shielded entry = {.kind = SHIELD_PIPE, .region = ends, .access = access, .object = id};
    any = true;
    return table_put(fd, &entry);
}

/* Even, and not 0. */
static u64 draw_id(void) {
    u64 id = 0;
    while (!id) id = SYS3(__NR_getrandom, &id, sizeof id, 0) == sizeof id ? id & ~1UL : 0;
    return id;
}

static long seal_streams(const int pair[2]) {
    const u8 both = PIPE_READS | PIPE_WRITES;
    u64 id = draw_id();
    if (pipe_ask_new(id) || pipe_ask_new(id ^ 1)) return -ENFILE;
    long error = put((u32)pair[0], both, PIPE_STREAM, id);
    return failed(error) ? error : put((u32)pair[1], both, PIPE_STREAM, id ^ 1);
}

static long seal_pipe(const int pair[2]) {
    u64 id = draw_id();
    SYS3(__NR_fcntl, pair[1], F_SETPIPE_SZ, USUAL_ROOM * ROOM_FACTOR); /* who may have no more has less */
    if (pipe_ask_new(id)) return -ENFILE;
    long error = put((u32)pair[0], PIPE_READS, 0, id);
    return failed(error) ? error : put((u32)pair[1], PIPE_WRITES, 0, id);
}

static long make_pair(const struct call *call, int pair[2]) {
    const u64 *a = call->arg, flags = call->number == __NR_pipe2 ? a[1] : 0;
    if (call->number == __NR_socketpair) return SYS4(__NR_socketpair, a[0], a[1], a[2], pair);
    if (flags & ~(u64)KNOWN_FLAGS) return -EINVAL; /* packets, and notifications of the kernel's, are not carried */
    return SYS2(__NR_pipe2, pair, flags);
}

static long make(const struct call *call) {
    int pair[2];
    u64 to = call->arg[call->number == __NR_socketpair ? 3 : 0];
    if (!shield_writable(to, sizeof pair)) return -EFAULT;
    long error = make_pair(call, pair);
    if (failed(error)) return error;
    error = call->number == __NR_socketpair ? seal_streams(pair) : seal_pipe(pair);
    if (!failed(error)) memcpy(ptr_of(to), pair, sizeof pair);
    for (int i = 0; failed(error) && i < 2; i++) {
        table_drop((u32)pair[i]);
        SYS1(__NR_close, pair[i]);
    }
    return error;
}

long pipe_new_call(struct call *call) {
    struct lock_guard lock;
    bool is_other = call->number == __NR_socketpair && ((u32)call->arg[0] != FAMILY_UNIX || (call->arg[1] & TYPE_MASK) != STREAM);
    if (!pipes_are_sealed() || is_other) return SHIELD_PASS;
    lock_take(&lock, call->frame != NULL);
    long result = make(call);
    lock_give(&lock);
    return result;
}

bool pipe_is_there(const struct channel *channel) {
    struct shielded entry;
    return table_get((u32)channel->fd, &entry) && entry.kind == SHIELD_PIPE && entry.object == channel->object;
}

static u8 ends_of(long fd) {
    long mode = SYS2(__NR_fcntl, fd, F_GETFL) & O_ACCMODE;
    return (u8)((mode != O_WRONLY ? PIPE_READS : 0) | (mode != O_RDONLY ? PIPE_WRITES : 0));
}

long pipe_open(const struct call *call) {
    struct shielded entry;
    struct lock_guard lock;
    long number = any ? open_again_number(call) : -1;
    if (number < 0 || !table_get((u64)number, &entry) || entry.kind != SHIELD_PIPE) return SHIELD_PASS;
    long fd = open_again_now(call);
    if (failed(fd)) return fd;
    lock_take(&lock, call->frame != NULL);
    long error = put((u64)fd, ends_of(fd), entry.access, entry.object);
    lock_give(&lock);
    if (!failed(error)) return fd;
    SYS1(__NR_close, fd);
    return error;
}

static long transfer(const struct call *call, int fd, const struct shielded *entry, bool writes) {
    struct buffers buffers;
    long error = buffers_of(call, &buffers);
    if (failed(error)) return error;
    if (!(entry->region & (writes ? PIPE_WRITES : PIPE_READS))) return -EBADF;
    struct channel channel = pipe_channel(fd, entry, writes);
    return writes ? pipe_write(call, &channel, &buffers) : pipe_read(call, &channel, &buffers);
}

static long tell_waiting(const struct call *call, int fd, const struct shielded *entry) {
    struct lock_guard lock;
    const struct channel channel = pipe_channel(fd, entry, false);
    lock_take(&lock, call->frame != NULL);
    long n = pipe_waiting(&channel);
    if (!failed(n) && !shield_writable(call->arg[2], sizeof(int))) n = -EFAULT;
    if (!failed(n)) *(int *)ptr_of(call->arg[2]) = (int)n;
    lock_give(&lock);
    return failed(n) ? n : 0;
}

static long control(const struct call *call, int fd) {
    long size;
    switch (call->arg[1]) {
    case F_GETPIPE_SZ: size = SYS2(__NR_fcntl, fd, F_GETPIPE_SZ); break;
    case F_SETPIPE_SZ: size = SYS3(__NR_fcntl, fd, F_SETPIPE_SZ, min_u64((u32)call->arg[2], 1U << 30) * ROOM_FACTOR); break;
    case F_SETFL: return call->arg[2] & PACKETS ? -EINVAL : SHIELD_PASS;
    default: return SHIELD_PASS;
    }
    return failed(size) ? size : size / ROOM_FACTOR;
}

/* The kernel would answer these of the records. */
long pipe_call(struct call *call, int fd, const struct shielded *entry) {
    switch (call->number) {
    case __NR_read:
    case __NR_readv:
    case __NR_preadv2: return transfer(call, fd, entry, false);
    case __NR_write:
    case __NR_writev:
    case __NR_pwritev2: return transfer(call, fd, entry, true);
    case __NR_pread64:
    case __NR_pwrite64:
    case __NR_preadv:
    case __NR_pwritev: return -ESPIPE;
    case __NR_sendfile:
    case __NR_splice:
    case __NR_tee:
    case __NR_copy_file_range: return -EINVAL; /* callers read and write instead */
    case __NR_ioctl: return (u32)call->arg[1] == FIONREAD ? tell_waiting(call, fd, entry) : SHIELD_PASS;
    case __NR_fcntl: return control(call, fd);
    default: return entry->access & PIPE_STREAM ? pipe_message_call(call, fd, entry) : SHIELD_PASS;
    }
}
