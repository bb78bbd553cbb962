/* Writing to a sealed pipe. What fits at once is written with the lock held; else the writer waits in write(2) itself, with one record of
 * its own on its stack, so that the kernel wakes it, interrupts it and begins again as it would. */
#include <linux/fcntl.h>

#include "buffers.h"
#include "bytes.h"
#include "console.h"
#include "guard_pipe_words.h"
#include "pipe.h"
#include "pipe_record.h"

enum { NO_WAIT = 8 /* RWF_NOWAIT */, POLL_OUT = 4, FLIGHTS = 16 };

static u8 record[PIPE_RECORD] BEHIND;
static struct pipe_key key BEHIND; /* of the pipe that was written to last */
static bool exiting;

/* Who waits with a record. A handler that jumped out of write(2) leaves it unknown whether it was written. */
static struct flight {
    u32 thread;
    u64 id, number;
} flights[FLIGHTS];

static void forget_flight(u64 id, u64 number) {
    u32 me = (u32)SYS0(__NR_gettid);
    for (u32 i = 0; i < FLIGHTS; i++)
        if (flights[i].thread == me && flights[i].id == id && flights[i].number == number) flights[i].thread = 0;
}

static bool is_any_flight(void) {
    for (u32 i = 0; i < FLIGHTS; i++)
        if (flights[i].thread) return true;
    return false;
}

static void settle_flights(void) {
    if (!is_any_flight()) return;
    u32 me = (u32)SYS0(__NR_gettid);
    for (u32 i = 0; i < FLIGHTS; i++) {
        if (flights[i].thread != me) continue;
        const struct pipe_numbers unsure = {.first = flights[i].number, .count = 1};
        pipe_ask_unsent(flights[i].id, &unsure, false);
        flights[i].thread = 0;
    }
}

static void note_flight(u64 id, u64 number) {
    for (u32 i = 0; i < FLIGHTS; i++) {
        if (flights[i].thread) continue;
        flights[i] = (struct flight){.thread = (u32)SYS0(__NR_gettid), .id = id, .number = number};
        return;
    }
}

static bool has_room(const struct channel *channel) {
    if (channel->stream) return true; /* there poll(2) says no long before send(2) does */
    struct {
        int fd;
        u16 events, returned;
    } polled = {.fd = channel->fd, .events = POLL_OUT};
    return SYS3(__NR_poll, &polled, 1, 0) != 0; /* also if nobody reads: then write(2) says so */
}

static long write_at_once(struct channel *channel, const u8 *from, u64 size) {
    const u64 vector[2] = {addr_of(from), size};
    if (channel->stream) return stream_send(channel, from, size, true);
    long n = SYS6(__NR_pwritev2, channel->fd, vector, 1, -1, 0, NO_WAIT);
    if (n != -EOPNOTSUPP) return n;
    return console_is_nonblocking(channel->fd) ? SYS3(__NR_write, channel->fd, from, size) : -EAGAIN;
}

static u32 draw(void) {
    u32 salt = 0;
    while (SYS3(__NR_getrandom, &salt, sizeof salt, 0) != sizeof salt) continue;
    return salt;
}

/* The text stands in its place. */
static u64 seal(u8 *to, u64 id, const struct pipe_numbers *numbers, u64 i, u64 size) {
    u64 number = numbers->first + i;
    struct pipe_head head = {.number = number, .salt = draw(), .behind = (u16)min_u64(number - numbers->least, 0xffff), .size = (u16)size};
    pipe_key(&key, state.handoff_key, id);
    return pipe_record_seal(to, &key, &head);
}

/* With the lock held: how many bytes were written, or why none. */
static long write_now(struct channel *channel, const struct buffers *from, u64 offset, u64 size) {
    struct pipe_numbers numbers = {.count = (size + PIPE_TEXT - 1) / PIPE_TEXT};
    u64 done = 0, i = 0;
    u64 id = channel->id;
    if (!has_room(channel)) return -EAGAIN;
    settle_flights();
    long error = pipe_ask_send(id, &numbers);
    if (error) return error == -EAGAIN ? error : -EIO;
    for (; !failed(error) && i < numbers.count && done < size; i++) {
        u64 n = min_u64(size - done, PIPE_TEXT);
        error = buffers_get(from, offset + done, record + PIPE_HEAD, n) ? write_at_once(channel, record, seal(record, id, &numbers, i, n)) : -EFAULT;
        if (failed(error)) break;
        done += n;
    }
    const struct pipe_numbers rest = {.first = numbers.first + i, .count = numbers.count - i};
    if (rest.count) pipe_ask_unsent(id, &rest, true);
    else if (numbers.crowded) pipe_ask_sent(id);
    return done ? (long)done : error;
}

/* Too many write at once: 0, for nothing was written. */
static long wait_for_turn(const struct call *call) {
    shield_unblock(call);
    console_nap();
    shield_block(call);
    return 0;
}

/* Not inlined: of the record's room only those need stack who wait. */
static __attribute__((noinline)) long write_waiting(const struct call *call, struct channel *channel, const struct buffers *from, u64 offset, u64 size) {
    u8 own[PIPE_RECORD];
    u64 id = channel->id;
    struct pipe_numbers numbers = {.count = 1};
    struct lock_guard lock;
    u64 n = min_u64(size, PIPE_TEXT), all = 0;
    lock_take(&lock, call->frame != NULL);
    long error = buffers_get(from, offset, own + PIPE_HEAD, n) ? 0 : -EFAULT;
    settle_flights();
    if (!error) error = pipe_ask_send(id, &numbers);
    if (!error) {
        all = seal(own, id, &numbers, 0, n);
        note_flight(id, numbers.first);
    }
    lock_give(&lock);
    if (error == -EAGAIN) return wait_for_turn(call);
    if (error) return error == -EFAULT ? error : -EIO;
    shield_unblock(call);
    error = channel->stream ? stream_send(channel, own, all, false) : SYS3(__NR_write, channel->fd, own, all);
    shield_block(call);
    lock_take(&lock, call->frame != NULL);
    forget_flight(id, numbers.first);
    if (failed(error)) pipe_ask_unsent(id, &numbers, true);
    else if (numbers.crowded) pipe_ask_sent(id);
    lock_give(&lock);
    return failed(error) ? error : (long)n;
}

/* Between number and record nobody of this process leaves: what it does not write would be missed. */
void pipe_before_exit(void) { exiting = true; }

static long try(const struct call *call, struct channel *channel, const struct buffers *from, u64 offset, u64 size) {
    struct lock_guard lock;
    lock_take(&lock, call->frame != NULL);
    long n = pipe_is_there(channel) ? write_now(channel, from, offset, size) : -EBADF;
    lock_give(&lock);
    return n;
}

long pipe_write(const struct call *call, struct channel *channel, const struct buffers *from) {
    long size = buffers_size_now(call, from), n = 0;
    u64 done = 0;
    while (size > 0 && done < (u64)size) {
        while (exiting) console_nap();
        n = try(call, channel, from, done, (u64)size - done);
        bool waits = n == -EAGAIN && !channel->at_once && !console_is_nonblocking(channel->fd);
        if (waits) n = write_waiting(call, channel, from, done, (u64)size - done);
        if (failed(n)) break;
        done += (u64)n;
    }
    if (size <= 0) return size;
    return done ? (long)done : n;
}

void pipe_tell(struct channel *channel, const char *text, u64 size) {
    struct pipe_numbers numbers = {.count = 1};
    if (size > PIPE_TEXT || !has_room(channel) || pipe_ask_send(channel->id, &numbers)) return;
    memcpy(record + PIPE_HEAD, text, size);
    if (failed(write_at_once(channel, record, seal(record, channel->id, &numbers, 0, size)))) pipe_ask_unsent(channel->id, &numbers, true);
}
