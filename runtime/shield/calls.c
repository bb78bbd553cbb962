/* Where a system call goes that the shields see: to who answers its kind of descriptor, its path, or on to the rest of the runtime and
 * the kernel. */
#include "calls.h"

#include <linux/close_range.h>
#include <linux/fcntl.h>

#include "areas.h"
#include "console.h"
#include "file.h"
#include "file_buffer.h"
#include "ledger.h"
#include "mount.h"
#include "numbers.h"
#include "outside.h"
#include "pipe.h"
#include "reserved.h"
#include "table.h"
#include "working.h"

enum { SET_MASK = 2 };

void shield_unblock(const struct call *call) {
    if (!call->frame && !call->held) return;
    u64 mask = (call->frame ? call->frame->signals : *call->held) & ~SIGSYS_BIT;
    SYS4(__NR_rt_sigprocmask, SET_MASK, &mask, 0, 8);
}

void shield_block(const struct call *call) {
    u64 all = call->frame ? ~SIGSYS_BIT : ~0UL;
    if (call->frame || call->held) SYS4(__NR_rt_sigprocmask, SET_MASK, &all, 0, 8);
}

/* Any of `protection` will do: what can be written can be read on this processor. */
static bool is_covered(u64 address, u64 length, int protection) {
    u64 end = address + length;
    if (end < address) return false;
    for (size_t i = areas_first_ending_after(address); address < end; i++) {
        if (i >= areas_count()) return false; /* without the lock there may be fewer by now */
        const struct area *area = areas_get(i);
        if (area->start > address || !(area->protection & protection)) return false;
        address = area->end;
    }
    return true;
}

bool shield_readable(u64 address, u64 length) {
    return is_covered(address, length, 3 /* PROT_READ | PROT_WRITE */) || file_buffer_has(address, length);
}

bool shield_writable(u64 address, u64 length) {
    return is_covered(address, length, 2 /* PROT_WRITE */) || file_buffer_has(address, length);
}

bool shield_only(u64 number) {
    const struct shield_rule *rule = shield_rule(number);
    return rule && rule->only;
}

static bool is_ours(u64 fd) { return table_has((u32)fd) || reserved_may_be((u32)fd); }

bool shield_concerns(u64 number, const u64 a[6]) {
    const struct shield_rule *rule = shield_rule(number);
    if (!rule) return false;
    switch ((enum call_class)rule->class) {
    case CALL_DESCRIPTOR: return is_ours(a[0]);
    case CALL_SECOND: return is_ours(a[0]) || is_ours(a[1]);
    case CALL_THIRD: return is_ours(a[0]) || is_ours(a[2]);
    case CALL_NUMBER: return number == __NR_close_range || is_ours(a[0]) || ((number == __NR_dup2 || number == __NR_dup3) && is_ours(a[1]));
    case CALL_SOCKET:
    case CALL_OUTSIDE: return true;
    case CALL_OPEN: return policy.files_count || policy.console.key;
    case CALL_PIPE: return pipes_are_sealed();
    case CALL_NONE: return false;
    default: return policy.files_count != 0;
    }
}

/* The runtime's own are closed to the program: it has not opened them. */
long shield_by_descriptor(struct call *call, u64 fd) {
    struct shielded entry;
    fd = (u32)fd;
    if (reserved_may_be(fd)) return -EBADF;
    if (!table_get(fd, &entry)) return SHIELD_PASS;
    long result = entry.kind == SHIELD_SOCKET ? socket_call(call, (int)fd, &entry) : file_peek(call, fd);
    if (result != (entry.kind == SHIELD_SOCKET ? SHIELD_STALE : SHIELD_PASS)) return result;
    /* Between close(2) and the table's word of it the number may be another thread's already, for something of the kernel's: with the
     * lock the table is right. */
    struct lock_guard lock;
    struct later later = {0};
    lock_take(&lock, call->frame != NULL);
    bool is_there = table_get(fd, &entry);
    result = is_there && entry.kind == SHIELD_FILE ? file_call(call, (int)fd, &entry, &later) : SHIELD_PASS;
    lock_give(&lock);
    if (is_there && entry.kind == SHIELD_CONSOLE) return console_call(call, (int)fd, &entry);
    if (is_there && entry.kind == SHIELD_SOCKET) {
        result = socket_call(call, (int)fd, &entry);
        return result == SHIELD_STALE ? -EBADF : result;
    }
    if (is_there && entry.kind == SHIELD_PIPE) return pipe_call(call, (int)fd, &entry);
    if (!later.wanted) return result;
    shield_unblock(call);
    result = SYS3(__NR_fcntl, later.fd, later.command, later.record);
    shield_block(call);
    return result;
}

static bool is_open(u64 fd) { return !failed(SYS2(__NR_fcntl, (u32)fd, F_GETFD)); }

static long by_two(struct call *call, u64 one, u64 other) {
    struct shielded entry;
    if ((table_has((u32)one) || table_has((u32)other)) && (!is_open(one) || !is_open(other))) return -EBADF;
    bool is_file = table_get((u32)other, &entry) && entry.kind == SHIELD_FILE;
    if (is_file && call->number == __NR_sendfile) return file_send(call, (int)other);
    if (is_file && call->number == __NR_copy_file_range && table_get((u32)one, &entry) && entry.kind == SHIELD_FILE) return file_copy(call);
    long result = shield_by_descriptor(call, one);
    return result == SHIELD_PASS ? shield_by_descriptor(call, other) : result;
}

typedef long answering(struct call *call);

enum { REWRITTEN_MOST = 2 };

/* Goes on with a path that stands in the runtime's buffers: copies of it, for the buffers are free again as soon as the lock is. Not
 * inlined: it needs much stack, which seldom happens. */
static __attribute__((noinline)) long pass_rewritten(struct call *call, struct lock_guard *lock) {
    char copy[REWRITTEN_MOST][PATH_SIZE];
    struct call changed = *call;
    u32 used = 0;
    for (int i = 0; i < 4; i++)
        if (location_is_text(changed.arg[i])) {
            copy_bounded(copy[used], PATH_SIZE, ptr_of(changed.arg[i]));
            changed.arg[i] = addr_of(copy[used++]);
        }
    lock_give(lock);
    changed.frame = NULL; /* no replay: the copies are here */
    return trap_pass(&changed);
}

static long by_path(struct call *call, answering *answer) {
    struct lock_guard lock;
    if (!policy.files_count) return SHIELD_PASS;
    struct call asked = *call;
    lock_take(&lock, call->frame != NULL);
    long result = answer(&asked);
    if (result == SHIELD_PASS && memcmp(asked.arg, call->arg, sizeof asked.arg)) return pass_rewritten(&asked, &lock);
    lock_give(&lock);
    return result;
}

/* Of this file: the linker cannot put the address of another's into an instruction (it is too high). */
static long open_path(struct call *call) { return file_open_call(call); }
static long status_of(struct call *call) { return file_status_call(call); }
static long working(struct call *call) { return working_call(call); }

static long change(struct call *call) {
    return call->number == __NR_chroot ? -EPERM /* paths would mean something else */ : file_change_call(call);
}

static long watch(struct call *call) { return outside_watch(call); }

static long sync_all(struct call *call) {
    (void)call;
    long error = location_sync_all();
    return failed(error) ? error : SHIELD_PASS;
}

long shield_call(struct call *call) {
    const struct shield_rule *rule = shield_rule(call->number);
    const u64 *a = call->arg;
    if (!rule) return SHIELD_PASS;
    switch ((enum call_class)rule->class) {
    case CALL_DESCRIPTOR: return shield_by_descriptor(call, a[0]);
    case CALL_SECOND: return by_two(call, a[0], a[1]);
    case CALL_THIRD: return by_two(call, a[0], a[2]);
    case CALL_NUMBER: return shield_number_call(call);
    case CALL_OPEN: {
        long result = by_path(call, open_path);
        if (result == SHIELD_PASS) result = pipe_open(call);
        return policy.console.key ? console_open(call, result) : result;
    }
    case CALL_PIPE: return pipe_new_call(call);
    case CALL_STATUS: return by_path(call, status_of);
    case CALL_CHANGE: return by_path(call, change);
    case CALL_WORKING: return by_path(call, working);
    case CALL_SYNC: return by_path(call, sync_all);
    case CALL_WATCH: return by_path(call, watch);
    case CALL_OUTSIDE: return outside_call(call);
    case CALL_SOCKET: {
        long result = shield_by_descriptor(call, a[0]);
        if (result == SHIELD_PASS) result = socket_place_call(call);
        if (result == SHIELD_PASS && call->number == __NR_socketpair) result = pipe_new_call(call);
        return result == SHIELD_PASS && policy.network ? socket_new_call(call) : result;
    }
    case CALL_NONE: break;
    }
    return SHIELD_PASS;
}
