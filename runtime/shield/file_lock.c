/* A process's record locks belong to a description of the ledger that only this process uses: those of open descriptions (F_OFD_SETLK) are
 * the only ones the kernel can keep apart that way. Each file has a range of the ledger. Locks by flock(2) and F_OFD_SETLK are the
 * descriptor's own description's. Waiting is done with no lock of the runtime's held. */
#include "file_lock.h"

#include <linux/fcntl.h>

#include "ledger.h"
#include "reserved.h"

enum { NAMES = 4096, WORD_BITS = 64, INODE_BITS = 22, RANGE_BITS = 36, SEEK_BEGIN = 0, SEEK_HERE = 1, SEEK_END_OF = 2,
       SHARED_LOCK = 1, EXCLUSIVE_LOCK = 2, NO_WAIT = 4, UNLOCK = 8 /* LOCK_SH and so on */ };

static const u64 range = 1UL << RANGE_BITS, last_offset = range - 2, whole_file = range - 1;

struct record { /* struct flock */
    short type, whence;
    long start, length;
    int pid;
};

static int owned; /* its number; 0: this process has locked nothing yet */
static u64 locked[NAMES / WORD_BITS]; /* by file, which may share a bit: what it may have locks on */

static u64 base_of(const struct shielded *entry) {
    return ((u64)entry->region << INODE_BITS | entry->object) << RANGE_BITS;
}

static u64 *word_of(u64 base) { return &locked[(base >> RANGE_BITS) % NAMES / WORD_BITS]; }
static u64 bit_of(u64 base) { return 1UL << (base >> RANGE_BITS) % WORD_BITS; }

static long own(u64 base) {
    long fd = owned ? owned : reserved_keep(ledger_open(O_CLOEXEC));
    if (failed(fd)) return -ENOLCK;
    if (!owned) SYS3(__NR_fcntl, fd, F_SETFD, 1);
    owned = (int)fd;
    *word_of(base) |= bit_of(base);
    return fd;
}

void file_lock_closed(const struct shielded *entry) {
    const u64 base = base_of(entry);
    const struct record all = {.type = F_UNLCK, .start = (long)base, .length = (long)range};
    if (owned && *word_of(base) & bit_of(base)) SYS3(__NR_fcntl, owned, F_OFD_SETLK, &all);
}

void file_lock_forked(void) {
    if (owned) reserved_close(owned);
    owned = 0;
    memset(locked, 0, sizeof locked);
}

static bool is_record_lock(u64 command) {
    return command == F_GETLK || command == F_SETLK || command == F_SETLKW || command == F_OFD_GETLK || command == F_OFD_SETLK ||
           command == F_OFD_SETLKW;
}

bool file_lock_is(const struct call *call) {
    return call->number == __NR_flock || (call->number == __NR_fcntl && is_record_lock(call->arg[1]));
}

static long size_of(const struct shielded *entry) {
    struct location location;
    long error = location_enter_open(&location, entry, false);
    return failed(error) ? error : location_leave(&location, (long)location.status.size);
}

/* The record's start from the file's beginning. */
static long absolute_start(const struct record *record, int fd, const struct shielded *entry) {
    long from = record->whence == SEEK_BEGIN ? 0 : record->whence == SEEK_HERE ? SYS3(__NR_lseek, fd, 0, SEEK_HERE) : size_of(entry);
    if (record->whence < 0 || record->whence > SEEK_END_OF) return -EINVAL;
    if (failed(from)) return from;
    long start = from + record->start + (record->length < 0 ? record->length : 0);
    return start < 0 ? -EINVAL : start;
}

/* The ledger's range for it. */
static long translate(struct record *record, int fd, const struct shielded *entry) {
    long start = absolute_start(record, fd, entry), length = record->length < 0 ? -record->length : record->length;
    if (failed(start)) return start;
    u64 first = min_u64((u64)start, last_offset), rest = last_offset - first + 1;
    record->whence = SEEK_BEGIN;
    record->start = (long)(base_of(entry) + first);
    record->length = (long)(length ? min_u64((u64)length, rest) : rest);
    record->pid = 0;
    return 0;
}

static long check_mode(const struct record *record, const struct shielded *entry) {
    u64 mode = entry->access & O_ACCMODE;
    if (entry->access & O_PATH || (record->type == F_RDLCK && mode == O_WRONLY) || (record->type == F_WRLCK && mode == O_RDONLY)) return -EBADF;
    return record->type == F_RDLCK || record->type == F_WRLCK || record->type == F_UNLCK ? 0 : -EINVAL;
}

/* What is left to do once the lock is given back. */
struct wish {
    struct record record;
    u64 command;
    long fd;
};

static long prepare_flock(const struct call *call, int fd, const struct shielded *entry, struct wish *wish) {
    u64 kind = call->arg[1] & ~(u64)NO_WAIT;
    if (entry->access & O_PATH) return -EBADF;
    if (kind != SHARED_LOCK && kind != EXCLUSIVE_LOCK && kind != UNLOCK) return -EINVAL;
    wish->record.type = kind == UNLOCK ? F_UNLCK : kind == SHARED_LOCK ? F_RDLCK : F_WRLCK;
    wish->record.start = (long)(base_of(entry) + whole_file);
    wish->record.length = 1;
    wish->command = call->arg[1] & NO_WAIT || kind == UNLOCK ? F_OFD_SETLK : F_OFD_SETLKW;
    wish->fd = fd;
    return 0;
}

static long prepare_record(const struct call *call, int fd, const struct shielded *entry, struct wish *wish) {
    u64 command = call->arg[1];
    if (!shield_writable(call->arg[2], sizeof wish->record)) return -EFAULT;
    memcpy(&wish->record, ptr_of(call->arg[2]), sizeof wish->record);
    bool asks = command == F_GETLK || command == F_OFD_GETLK, process = command == F_GETLK || command == F_SETLK || command == F_SETLKW;
    long error = asks ? 0 : check_mode(&wish->record, entry);
    if (!failed(error)) error = translate(&wish->record, fd, entry);
    if (failed(error)) return error;
    wish->command = asks ? F_OFD_GETLK : command == F_SETLKW || command == F_OFD_SETLKW ? F_OFD_SETLKW : F_OFD_SETLK;
    wish->fd = process && !asks ? own(base_of(entry)) : process && owned ? owned : fd;
    return failed(wish->fd) ? wish->fd : 0;
}

/* What is in the way, as the program counts it. */
static long tell(const struct call *call, const struct shielded *entry, struct record *record) {
    struct record *out = ptr_of(call->arg[2]);
    if (record->type == F_UNLCK) {
        out->type = F_UNLCK;
        return 0;
    }
    record->start -= (long)base_of(entry);
    if ((u64)(record->start + record->length) > last_offset) record->length = 0;
    memcpy(out, record, sizeof *out);
    return 0;
}

long file_lock_call(struct call *call, int fd, const struct shielded *entry, struct later *later) {
    struct wish wish = {0};
    long error = call->number == __NR_flock ? prepare_flock(call, fd, entry, &wish) : prepare_record(call, fd, entry, &wish);
    if (failed(error)) return error;
    u64 at_once = wish.command == F_OFD_GETLK ? F_OFD_GETLK : F_OFD_SETLK;
    error = SYS3(__NR_fcntl, wish.fd, at_once, &wish.record);
    if (!failed(error)) return at_once == F_OFD_GETLK ? tell(call, entry, &wish.record) : error;
    bool taken = error == -EAGAIN || error == -EACCES;
    if (!taken || wish.command != F_OFD_SETLKW) return taken ? -EAGAIN : error;
    *later = (struct later){.wanted = true, .fd = wish.fd, .command = F_OFD_SETLKW};
    memcpy(later->record, &wish.record, sizeof wish.record);
    return 0;
}
