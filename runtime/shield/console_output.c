/* What the program prints. A record's number is taken from the guard only when the socket has room, so that it is sent at once: a number
 * that nobody sends would keep everything behind it from the person. */
#include <linux/fcntl.h>

#include "console.h"
#include "guard_words.h"

enum { NO_SIGNAL = 0x4000 /* MSG_NOSIGNAL */, NO_WAIT = 0x40 /* MSG_DONTWAIT */, POLL_OUT = 4, PIPE_SIGNAL = 13 };

static u8 record[RECORD_MOST] BEHIND;

struct polled { /* struct pollfd */
    int fd;
    u16 events, returned;
};

/* 0, -EAGAIN where the program does not want to wait, or what interrupted. */
static long wait_for_room(const struct call *call, int fd) {
    struct polled polled = {.fd = console.out, .events = POLL_OUT};
    long ready = SYS3(__NR_poll, &polled, 1, 0);
    if (ready == 0 && console_is_nonblocking(fd)) return -EAGAIN;
    while (ready == 0) {
        shield_unblock(call);
        ready = SYS3(__NR_poll, &polled, 1, -1);
        shield_block(call);
    }
    return failed(ready) ? ready : 0;
}

/* With the lock held, which no signal interrupts. Others may have taken the room since: then it is waited for here. */
static long send_now(u64 size) {
    for (;;) {
        long n = SYS6(__NR_sendto, console.out, record, size, NO_SIGNAL | NO_WAIT, 0, 0);
        if (n != -EAGAIN && n != -EINTR) return failed(n) ? n : 0;
        struct polled polled = {.fd = console.out, .events = POLL_OUT};
        SYS3(__NR_poll, &polled, 1, -1);
    }
}

/* The first record of all is HELLO, number 0; it is sent before the filter is there, which leads to the guard. */
static long seal_and_send(u8 kind, u64 size) {
    u64 before = 0;
    bool first = kind == OUTPUT_HELLO;
    long error = first ? 0 : guard_add(WORD_OUTPUT, 1, &before);
    if (failed(error)) return -EIO;
    return send_now(console_record_seal(record, console.output_key, first ? 0 : before + 1, kind, size));
}

void console_tell(u8 kind, const void *text, u64 size) {
    memcpy(record + RECORD_HEAD, text, size);
    (void)!seal_and_send(kind, size);
}

/* As the kernel says it of a pipe, or of a terminal that was hung up. */
static long gone(void) {
    if (console.terminal) return -EIO;
    SYS3(__NR_tgkill, SYS0(__NR_getpid), SYS0(__NR_gettid), PIPE_SIGNAL);
    return -EPIPE;
}

static long write_piece(const struct call *call, const struct buffers *from, u64 offset, u64 size, u8 kind) {
    struct lock_guard lock;
    lock_take(&lock, call->frame != NULL);
    long error = buffers_get(from, offset, record + RECORD_HEAD, size) ? seal_and_send(kind, size) : -EFAULT;
    lock_give(&lock);
    return error;
}

long console_write(const struct call *call, int fd, const struct buffers *from, u8 kind) {
    long size = buffers_size_now(call, from), error = 0;
    if (failed(size)) return size;
    u64 done = 0, all = (u64)size;
    while (done < all && !failed(error)) {
        u64 n = min_u64(all - done, RECORD_TEXT);
        error = wait_for_room(call, fd);
        if (!failed(error)) error = write_piece(call, from, done, n, kind);
        if (!failed(error)) done += n;
    }
    if (done || !failed(error)) return (long)done;
    return error == -EPIPE || error == -ECONNRESET || error == -ENOTCONN ? gone() : error;
}
