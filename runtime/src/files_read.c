/* Bytes of injected files, and the numbers of their descriptors. */
#include <linux/fcntl.h>
#include <linux/uio.h>

#include "access.h"
#include "filter.h"
#include "placeholder.h"
#include "state.h"

enum { SEEK_HERE = 1 };

static const u64 most_at_once = 0x7ffff000; /* of a single read: MAX_RW_COUNT */
static const u64 here = ~0UL;               /* preadv2's offset for "from the descriptor's" */

struct span { /* struct iovec */
    u64 at, length;
};

/* Where a call wants bytes: one span, or an array of them in the program's memory. */
struct target {
    struct span one;
    u64 array, count;
    bool is_array; /* else `one` alone */
};

static long get_span(const struct target *to, u64 i, struct span *out) {
    if (!to->is_array) *out = to->one;
    else if (!can_read(to->array + i * sizeof *out, sizeof *out)) return -EFAULT;
    else memcpy(out, ptr_of(to->array + i * sizeof *out), sizeof *out);
    return out->length >> 63 ? -EINVAL : 0;
}

static long total_of(const struct target *to) {
    struct span span;
    u64 sum = 0;
    if (to->count > UIO_MAXIOV) return -EINVAL;
    for (u64 i = 0; i < to->count; i++) {
        long error = get_span(to, i, &span);
        if (failed(error)) return error;
        sum += min_u64(span.length, most_at_once - sum);
    }
    return (long)sum;
}

/* The kernel reads the zeros there are, which says how much of a span is writable; the lock keeps it mapped meanwhile. */
static long deliver(int fd, const struct file *file, const struct target *to, u64 offset, u64 size) {
    struct span span;
    u64 done = 0;
    for (u64 i = 0; i < to->count && done < size; i++) {
        long n = get_span(to, i, &span);
        u64 wanted = min_u64(span.length, size - done);
        if (!failed(n)) n = SYS4(__NR_pread64, fd, span.at, wanted, offset + done);
        if (failed(n)) return done ? (long)done : n;
        memcpy(ptr_of(span.at), file->content + offset + done, (u64)n);
        done += (u64)n;
        if ((u64)n < wanted) break;
    }
    return (long)done;
}

static u64 left_from(const struct file *file, u64 offset, u64 wanted) {
    return offset < file->size ? min_u64(wanted, file->size - offset) : 0;
}

static long read_at(int fd, const struct file *file, const struct target *to, u64 offset) {
    long wanted = total_of(to);
    if (failed(wanted) || offset >> 63) return failed(wanted) ? wanted : -EINVAL;
    return deliver(fd, file, to, offset, left_from(file, offset, (u64)wanted));
}

/* Other processes may share the offset: lseek(2) adds to it in one step and says where it stood, a read would not. Only who
 * meets another reader at the very end can have taken too much, and gives it back. */
static long read_here(int fd, const struct file *file, const struct target *to) {
    long wanted = total_of(to), seen = SYS3(__NR_lseek, fd, 0, SEEK_HERE);
    if (failed(wanted) || failed(seen)) return failed(wanted) ? wanted : seen;
    u64 taken = left_from(file, (u64)seen, (u64)wanted);
    if (!taken) return 0;
    long end = SYS3(__NR_lseek, fd, taken, SEEK_HERE);
    if (failed(end)) return end;
    u64 offset = (u64)end - taken;
    long n = deliver(fd, file, to, offset, left_from(file, offset, taken));
    u64 used = failed(n) ? 0 : (u64)n;
    if (used < taken) SYS3(__NR_lseek, fd, used - taken, SEEK_HERE);
    return n;
}

static long read_call(const struct call *call, int fd, const struct file *file) {
    const u64 *a = call->arg;
    const struct target one = {.one = {a[1], a[2]}, .count = 1}, many = {.array = a[1], .count = a[2], .is_array = true};
    switch (call->number) {
    case __NR_read: return read_here(fd, file, &one);
    case __NR_pread64: return read_at(fd, file, &one, a[3]);
    case __NR_readv: return read_here(fd, file, &many);
    case __NR_preadv: return read_at(fd, file, &many, a[3]);
    case __NR_preadv2:
        if (a[5] & ~0xffUL) return -EOPNOTSUPP;
        return a[3] == here ? read_here(fd, file, &many) : read_at(fd, file, &many, a[3]);
    default: return -EINVAL; /* sendfile and its kind: callers read and write instead */
    }
}

/* A copy for which any number will do gets a high one. */
static long duplicate_high(const u64 *a) {
    u64 least = a[2];
    long fd = SYS3(__NR_fcntl, a[0], a[1], max_u64(least, filter_files_base()));
    if (fd != -EINVAL && fd != -EMFILE) return fd;
    long error = placeholder_allow(0);
    return failed(error) ? error : SYS3(__NR_fcntl, a[0], a[1], least);
}

static long duplicate(const struct call *call) {
    const u64 *a = call->arg;
    if (call->number == __NR_fcntl) return duplicate_high(a);
    long error = placeholder_allow(call->number == __NR_dup ? 0 : (u32)a[1]);
    return failed(error) ? error : SYS3((long)call->number, a[0], a[1], a[2]);
}

static bool duplicates(const struct call *call) {
    int command = (int)call->arg[1];
    if (call->number == __NR_fcntl) return command == F_DUPFD || command == F_DUPFD_CLOEXEC;
    return call->number == __NR_dup;
}

bool files_duplicate(const struct call *call, long *result) {
    if (!state.files_watched || !placeholder_is((int)call->arg[0])) return false;
    *result = duplicate(call);
    return true;
}

/* The program did not ask for O_SYNC. */
static bool is_marked_flags(const struct call *call) { return call->arg[1] == F_GETFL && placeholder_is((int)call->arg[0]); }

/* NOT_INJECTED if the kernel is to answer. */
static long answer(struct call *call) {
    struct file file;
    int fd = (int)call->arg[call->number == __NR_sendfile ? 1 : 0];
    if (duplicates(call)) return placeholder_is(fd) ? duplicate(call) : NOT_INJECTED;
    if (call->number == __NR_fcntl) return is_marked_flags(call) ? SYS2(__NR_fcntl, fd, F_GETFL) & ~(long)O_SYNC : NOT_INJECTED;
    long found = placeholder_find(fd, &file);
    return found ? found : read_call(call, fd, &file);
}

void files_descriptor_call(struct call *call, long *result, bool *replayed) {
    struct lock_guard lock;
    lock_take(&lock, true);
    *result = answer(call);
    lock_give(&lock);
    *replayed = *result == NOT_INJECTED;
    if (*replayed) call_replay(call, call->arg, -1, NULL, 0);
}

long files_descriptor_in_place(struct call *call) {
    const u64 *a = call->arg;
    struct lock_guard lock;
    lock_take(&lock, false);
    long result = answer(call);
    lock_give(&lock);
    return result == NOT_INJECTED ? SYS6((long)call->number, a[0], a[1], a[2], a[3], a[4], a[5]) : result;
}

bool files_want(u64 number) {
    if (!state.files.size) return false;
    switch (number) {
    case __NR_read:
    case __NR_pread64:
    case __NR_readv:
    case __NR_preadv:
    case __NR_preadv2:
    case __NR_sendfile:
    case __NR_splice:
    case __NR_copy_file_range:
    case __NR_dup:
    case __NR_fcntl: return true;
    default: return false;
    }
}

struct message { /* struct msghdr, its beginning */
    u64 name, name_size, array, count, control;
};

static bool brings_nothing(const struct call *call) {
    const struct message *message = ptr_of(call->arg[1]);
    return call->number == __NR_recvmsg && can_read(addr_of(message), sizeof *message) && !message->control;
}

/* A descriptor that comes from another process of the tree takes a low number: then all reads must be seen. */
void files_receive(struct call *call) {
    struct lock_guard lock;
    lock_take(&lock, true);
    bool seen = brings_nothing(call) || !failed(placeholder_allow(0));
    lock_give(&lock);
    call_replay(call, call->arg, -1, NULL, 0);
    if (!seen) call->frame->rdi = ~0UL; /* EBADF, rather than zeros for a file */
}
