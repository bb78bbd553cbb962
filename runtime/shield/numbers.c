/* The kernel does it, with the lock held, and the table follows. */
#include "numbers.h"

#include <linux/close_range.h>
#include <linux/fcntl.h>

#include "reserved.h"
#include "table.h"

static void tell_before_close(u64 fd) {
    struct shielded entry;
    if (table_get(fd, &entry) && entry.kind == SHIELD_SOCKET && !table_is_borrowed()) socket_closed((int)fd, &entry);
}

static long close_one(u64 fd) {
    tell_before_close(fd);
    long result = SYS1(__NR_close, fd);
    table_drop(fd);
    return result;
}

/* `made` is a copy of `fd` now, or an error. */
static long note_copy(u64 fd, long made) {
    struct shielded entry;
    if (failed(made) || !table_get(fd, &entry)) return made;
    long error = table_put((u64)made, &entry);
    if (!failed(error)) return made;
    SYS1(__NR_close, made);
    table_drop((u64)made);
    return error;
}

/* Onto a number of the program's choice: what stood there is closed. */
static long copy_onto(const struct call *call) {
    u64 fd = (u32)call->arg[0], onto = (u32)call->arg[1];
    if (reserved_may_be(fd) || reserved_may_be(onto)) return -EBADF;
    if (fd == onto || (!table_has(fd) && !table_has(onto))) return SHIELD_PASS;
    if (failed(SYS2(__NR_fcntl, fd, F_GETFD))) return -EBADF;
    if (onto < TABLE_MOST) tell_before_close(onto);
    long made = SYS3((long)call->number, fd, onto, call->arg[2]);
    if (failed(made)) return made;
    if (!table_has(fd)) table_drop(onto);
    return note_copy(fd, made);
}

/* What is between the runtime's own. */
static long for_each_gap(u64 first, u64 last, u64 flags) {
    long result = 0;
    while (first <= last && !failed(result)) {
        long own = reserved_from(first);
        u64 end = own >= 0 && (u64)own <= last ? (u64)own : last + 1;
        if (end > first) result = SYS3(__NR_close_range, first, end - 1, flags);
        first = end + 1;
    }
    return result;
}

static long close_many(const struct call *call) {
    u64 first = (u32)call->arg[0], last = (u32)call->arg[1], flags = (u32)call->arg[2];
    if (first > last || flags & ~(u64)CLOSE_RANGE_CLOEXEC) return -EINVAL; /* CLOSE_RANGE_UNSHARE: one table for all threads */
    if (!(flags & CLOSE_RANGE_CLOEXEC))
        for (u64 fd = first; fd <= last && fd < table_end(); fd++)
            if (table_has(fd)) (void)!close_one(fd);
    return for_each_gap(first, last, flags);
}

static bool makes_copy(const struct call *call) {
    return call->number == __NR_dup || call->arg[1] == F_DUPFD || call->arg[1] == F_DUPFD_CLOEXEC;
}

static long locked(const struct call *call) {
    u64 fd = (u32)call->arg[0];
    switch (call->number) {
    case __NR_close: return close_one(fd);
    case __NR_close_range: return close_many(call);
    case __NR_dup2:
    case __NR_dup3: return copy_onto(call);
    default: return note_copy(fd, SYS3((long)call->number, fd, call->arg[1], call->arg[2]));
    }
}

/* Most calls are about descriptors that are nobody's but the kernel's. */
static bool is_plain(const struct call *call) {
    u64 fd = (u32)call->arg[0];
    switch (call->number) {
    case __NR_close_range: return false;
    case __NR_dup2:
    case __NR_dup3: return !table_has(fd) && !table_has((u32)call->arg[1]) && !reserved_may_be(fd) && !reserved_may_be((u32)call->arg[1]);
    default: return !table_has(fd) && !reserved_may_be(fd);
    }
}

long shield_number_call(struct call *call) {
    struct lock_guard lock;
    if (is_plain(call)) return SHIELD_PASS;
    if (call->number != __NR_close_range && reserved_may_be((u32)call->arg[0])) return -EBADF;
    if (call->number == __NR_fcntl && !makes_copy(call)) return shield_by_descriptor(call, call->arg[0]);
    lock_take(&lock, call->frame != NULL);
    long result = locked(call);
    lock_give(&lock);
    return result;
}
