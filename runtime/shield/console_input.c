/* What the person sends where there is no terminal. A record stays in the socket until all of it was read; how far that is, the guard
 * knows, for the next reader may be another process. */
#include "console.h"

#include "guard_words.h"

enum { PEEK = 2, NO_WAIT = 0x40, WHOLE = 0x20 /* MSG_TRUNC */, PATIENCE = 20000 /* naps: some seconds */ };

/* The record that stands first, opened. */
static struct {
    u64 number, size; /* of its text; 0: none is here */
    u8 kind;
    u8 bytes[RECORD_MOST];
} head BEHIND;
static u64 known; /* how far input was read at least: asked of the guard before the record that stands first was looked at */

long console_claim(u64 position, u64 size, u64 *now) {
    long error = guard_add_if(WORD_INPUT, position, size, now);
    return failed(error) && error != -EAGAIN ? -EIO : error;
}

long console_damaged(void) {
    static const char words[] = "what it was to read is not what you sent: changed, replayed, left out or cut off on the way";
    if (!console.damaged) console_tell(OUTPUT_ALERT, words, sizeof words - 1);
    console.damaged = true;
    return -EIO;
}

/* 0; -EAGAIN if there is none; -EIO. */
static long look_at_head(int fd) {
    u8 start[RECORD_HEAD];
    long size = SYS6(__NR_recvfrom, fd, start, sizeof start, PEEK | NO_WAIT | WHOLE, 0, 0);
    if (size == -EAGAIN || size == -EINTR) return -EAGAIN;
    if (size < RECORD_EXTRA || size > RECORD_MOST) return console_damaged();
    if (head.size && head.number == console_record_number(start)) return 0;
    head.size = 0;
    long n = SYS6(__NR_recvfrom, fd, head.bytes, RECORD_MOST, PEEK | NO_WAIT, 0, 0);
    if (n == -EAGAIN || n == -EINTR) return -EAGAIN; /* somebody was quicker */
    if (failed(n) || !console_record_open(head.bytes, (u64)n, console.input_key) || n == RECORD_EXTRA) return console_damaged();
    head.number = console_record_number(head.bytes);
    head.kind = head.bytes[sizeof(u64)];
    head.size = (u64)n - RECORD_EXTRA;
    return 0;
}

static void remove_head(int fd) {
    u8 start[RECORD_HEAD];
    head.size = 0;
    SYS6(__NR_recvfrom, fd, start, sizeof start, NO_WAIT, 0, 0);
}

/* Whoever read its last byte takes it out, at once. One that stays was sent a second time, or its reader was killed just there. -EINTR
 * to look again. */
static long wait_for_removal(u32 *naps) {
    console_nap();
    if (failed(guard_add(WORD_INPUT, 0, &known))) return -EIO;
    return ++*naps < PATIENCE ? -EINTR : console_damaged();
}

/* The end of input must stand where input was read to: else something before it was left out. */
static long at_end(void) {
    if (failed(guard_add(WORD_INPUT, 0, &known))) return -EIO;
    return known == head.number ? 0 : console_damaged();
}

/* The number of bytes; -EAGAIN if there are none; -EINTR to look again. */
static long take(int fd, const struct buffers *to, u64 wanted, u32 *naps) {
    u64 now;
    long error = look_at_head(fd);
    if (failed(error)) return error;
    u64 end = head.number + head.size;
    if (head.kind == INPUT_END) return at_end();
    if (known > end) return console_damaged(); /* it was read, and all of the next one could only be read after it was gone */
    if (known == end) return wait_for_removal(naps);
    u64 from = max_u64(known, head.number), n = min_u64(wanted, end - from);
    if (!buffers_writable(to, n)) return -EFAULT;
    error = console_claim(from, n, &now);
    if (error == -EAGAIN && now < head.number) return console_damaged(); /* what stood before it was left out */
    if (error == -EAGAIN) known = now;
    if (failed(error)) return error == -EAGAIN ? -EINTR : error;
    known = from;
    (void)!buffers_put(to, 0, head.bytes + RECORD_HEAD + (known - head.number), n);
    known += n;
    if (known == end) remove_head(fd);
    return (long)n;
}

/* Nothing is read here: the next reader's look finds what came. */
static long wait_for_record(const struct call *call, int fd) {
    u8 byte;
    shield_unblock(call);
    long n = SYS6(__NR_recvfrom, fd, &byte, 1, PEEK, 0, 0);
    shield_block(call);
    return failed(n) ? n : 0;
}

long console_read(const struct call *call, int fd, const struct buffers *to) {
    u32 naps = 0;
    for (;;) {
        struct lock_guard lock;
        lock_take(&lock, call->frame != NULL);
        long size = buffers_size(to), n = size;
        if (size > 0) n = take(fd, to, (u64)size, &naps);
        lock_give(&lock);
        if (n == -EINTR) continue;
        if (n != -EAGAIN || console_is_nonblocking(fd)) return n;
        n = wait_for_record(call, fd);
        if (failed(n)) return n;
    }
}

long console_waiting(int fd) {
    if (failed(look_at_head(fd)) || head.kind == INPUT_END) return 0;
    u64 end = head.number + head.size;
    return known < end ? (long)(end - max_u64(known, head.number)) : 0;
}
