/* What the person types at a terminal. The kernel's terminal passes records on and keeps job control: a read by a process in the
 * background is answered by SIGTTIN there. Lines were edited at the person's side; here only their ends are known. */
#include "console.h"
#include "console_modes.h"

enum { AT_ONCE = 24, LINE_MOST = 1024 /* on small stacks of signal handlers too */, POLL_IN = 1, TENTH = 100, CONTROL_D = 4, PATIENCE = 20000 /* naps: some seconds */ };

/* Bytes that were read and whose place in the stream is not claimed yet. */
struct typed {
    u64 first, count; /* position of the first, and how many records there were */
    u64 size;         /* bytes for the program */
    u8 bytes[LINE_MOST];
    bool line_ended, end_of_file;
};

struct polled { /* struct pollfd */
    int fd;
    u16 events, returned;
};

/* Whole records: the relay writes nothing else. */
static long read_records(const struct call *call, int fd, u8 *to, u64 count) {
    shield_unblock(call);
    long n = SYS3(__NR_read, fd, to, count * RECORD_OF_KEY);
    shield_block(call);
    if (n <= 0) return n;
    u64 done = (u64)n;
    while (done % RECORD_OF_KEY) {
        struct polled polled = {.fd = fd, .events = POLL_IN};
        n = SYS3(__NR_read, fd, to + done, RECORD_OF_KEY - done % RECORD_OF_KEY);
        if (n == -EAGAIN) SYS3(__NR_poll, &polled, 1, -1);
        else if (n == 0 || (failed(n) && n != -EINTR)) return -EIO;
        else if (n > 0) done += (u64)n;
    }
    return (long)(done / RECORD_OF_KEY);
}

static bool add_record(struct typed *typed, u8 *record, bool lines) {
    if (!console_record_open(record, RECORD_OF_KEY, console.input_key)) return false;
    u64 number = console_record_number(record);
    u8 kind = record[sizeof number], byte = record[RECORD_HEAD];
    if (!typed->count) typed->first = number;
    if (number != typed->first + typed->count) return false;
    typed->count++;
    typed->line_ended = kind == INPUT_LINE || byte == '\n';
    typed->end_of_file = kind == INPUT_END && lines;
    if (kind == INPUT_END) byte = CONTROL_D;
    if (!typed->end_of_file) typed->bytes[typed->size++] = byte;
    return true;
}

/* Readers of other processes may have read what stands before it, and not have said so yet. */
static long claim(const struct typed *typed) {
    u64 now = 0;
    for (u32 naps = 0; naps < PATIENCE && now <= typed->first; naps++) {
        long error = console_claim(typed->first, typed->count, &now);
        if (error != -EAGAIN) return error;
        console_nap();
    }
    return console_damaged();
}

static long deliver(const struct call *call, struct typed *typed, const struct buffers *to) {
    struct lock_guard lock;
    lock_take(&lock, call->frame != NULL);
    long result = claim(typed);
    if (!failed(result)) result = buffers_put(to, 0, typed->bytes, typed->size) ? (long)typed->size : -EFAULT;
    lock_give(&lock);
    memset(typed->bytes, 0, typed->size);
    return result;
}

static long refuse(const struct call *call) {
    struct lock_guard lock;
    lock_take(&lock, call->frame != NULL);
    long error = console_damaged();
    lock_give(&lock);
    return error;
}

/* So many more records, at least one; 0 or the error. */
static long read_more(const struct call *call, int fd, struct typed *typed, u64 count, bool lines) {
    u8 records[AT_ONCE * RECORD_OF_KEY];
    long n = read_records(call, fd, records, min_u64(count, AT_ONCE));
    if (n == 0) return -EIO; /* hung up, which nobody vouches for */
    for (long i = 0; i < n; i++)
        if (!add_record(typed, records + i * RECORD_OF_KEY, lines)) return refuse(call);
    return failed(n) ? n : 0;
}

/* Up to the end of the line, byte by byte: what is behind it is another reader's. */
static long read_line(const struct call *call, int fd, struct typed *typed, u64 wanted) {
    long error = 0;
    while (!failed(error) && typed->size < wanted && !typed->line_ended && !typed->end_of_file)
        error = read_more(call, fd, typed, 1, true);
    return typed->count ? 0 : error;
}

/* VMIN and VTIME, termios(3). A time between bytes is not kept: what was typed at once is there at once. */
static long read_bytes_as_set(const struct call *call, int fd, struct typed *typed, u64 wanted, const struct modes *modes) {
    if (!modes->least) {
        struct polled polled = {.fd = fd, .events = POLL_IN};
        shield_unblock(call);
        long ready = SYS3(__NR_poll, &polled, 1, modes->tenths * TENTH);
        shield_block(call);
        if (ready <= 0) return ready;
    }
    long error;
    do error = read_more(call, fd, typed, wanted - typed->size, false);
    while (!failed(error) && typed->size < min_u64(modes->least, wanted));
    return typed->count ? 0 : error;
}

static long size_of(const struct call *call, const struct buffers *to, struct modes *modes) {
    struct lock_guard lock;
    lock_take(&lock, call->frame != NULL);
    long size = buffers_size(to);
    if (size > LINE_MOST) size = LINE_MOST;
    if (size > 0 && !buffers_writable(to, (u64)size)) size = -EFAULT;
    if (size > 0 && failed(modes_get(modes))) size = -EIO;
    lock_give(&lock);
    return size;
}

long console_read_terminal(const struct call *call, int fd, const struct buffers *to) {
    struct modes modes;
    struct typed typed;
    typed.count = typed.size = 0;
    typed.line_ended = typed.end_of_file = false;
    long size = size_of(call, to, &modes);
    if (size <= 0) return size;
    long error = modes_are_canonical(&modes) ? read_line(call, fd, &typed, (u64)size) : read_bytes_as_set(call, fd, &typed, (u64)size, &modes);
    if (failed(error) || !typed.count) return error;
    return deliver(call, &typed, to);
}

/* Nobody may find it missing: it is read, and claimed. */
void console_discard(int fd) {
    struct typed typed;
    u8 records[AT_ONCE * RECORD_OF_KEY];
    u32 waiting;
    while (!failed(SYS3(__NR_ioctl, fd, 0x541b /* FIONREAD */, &waiting)) && waiting >= RECORD_OF_KEY) {
        u64 count = min_u64(waiting / RECORD_OF_KEY, AT_ONCE);
        if (SYS3(__NR_read, fd, records, count * RECORD_OF_KEY) != (long)(count * RECORD_OF_KEY)) return;
        typed.count = typed.size = 0;
        for (u64 i = 0; i < count; i++)
            if (!add_record(&typed, records + i * RECORD_OF_KEY, false)) (void)!console_damaged();
        if (failed(claim(&typed))) return;
    }
}
