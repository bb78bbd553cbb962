/* Reading a sealed pipe: look at the records that stand first, claim them, give them out, take them out. */
#include <asm/ioctls.h>
#include <linux/fcntl.h>

#include "buffers.h"
#include "bytes.h"
#include "console.h"
#include "guard_pipe_words.h"
#include "pipe.h"
#include "pipe_record.h"
#include "say.h"

enum { WINDOW = 64 << 10, AT_ONCE = 2 /* SPLICE_F_NONBLOCK */, NO_WAIT = 8 /* RWF_NOWAIT */, PATIENCE = 10000 /* naps: a second */, WAITS = 16 };

static u8 window[WINDOW] BEHIND;
static struct pipe_key key BEHIND; /* of the pipe that was read last */
static bool told;

/* Where the reader of this process was last: a guess, for who knows is the guard. */
static struct {
    u64 id, number, from;
} last;

/* The record there, if some of it was read: who reads byte by byte opens it once. */
static struct {
    u64 id, number, least, size;
    u8 text[PIPE_TEXT];
} begun BEHIND;

/* Records that follow one another, opened: their texts stand together at the beginning of the window. */
struct run {
    u64 first, count, least, text;
    u16 size[PIPE_NUMBERS];
};

static long damaged(void) {
    if (!told)
        shield_say("cloister: a pipe between the program's processes does not hold what was written to it: changed, replayed or kept back on the way\n"
                   "  fix: somebody with power over this machine has a copy of it; start the program again where nobody interferes\n");
    told = true;
    return -EIO;
}

/* What the pipe holds, without taking it out: bytes, 0 at its end, -EAGAIN if it is empty. No more than may be needed, but a record. */
static long look(const struct channel *channel, u64 wanted) {
    int pair[2];
    u64 size = min_u64(WINDOW, wanted + wanted / 8 + PIPE_RECORD);
    if (channel->stream) return stream_look(channel->fd, window, size);
    long n = SYS2(__NR_pipe2, pair, O_CLOEXEC | O_NONBLOCK);
    if (failed(n)) return n;
    n = SYS4(__NR_tee, channel->fd, pair[1], size, AT_ONCE);
    if (n > 0) n = SYS3(__NR_read, pair[0], window, n);
    SYS1(__NR_close, pair[0]);
    SYS1(__NR_close, pair[1]);
    return n;
}

/* As many as `wanted` bytes need; one, where descriptors may come along: with it, not with a later one. False: they are not what was written. */
static bool open_run(const struct channel *channel, u64 size, u64 wanted, struct run *run) {
    const u64 most = channel->control ? 1 : PIPE_NUMBERS;
    struct pipe_head head;
    bool good = true;
    *run = (struct run){0};
    pipe_key(&key, state.handoff_key, channel->id);
    for (u64 at = 0; at < size && run->count < most && run->text < wanted;) {
        long n = pipe_record_open(window + at, size - at, &key, &head);
        good = n > 0 || (n == 0 && run->count); /* the window ends in the middle of one */
        if (n <= 0 || (run->count && head.number != run->first + run->count)) break;
        if (!run->count) run->first = head.number;
        memcpy(window + run->text, window + at + PIPE_HEAD, head.size); /* to the left: rt's copies from the beginning */
        run->least = max_u64(run->least, min_u64(head.number - head.behind, run->first));
        run->size[run->count++] = head.size;
        run->text += head.size;
        at += (u64)n;
    }
    return good;
}

/* Up to `end` of the run's text: the claim, and how many bytes of the kernel's pipe are done with then. */
static u64 claim_until(const struct run *run, u64 from, u64 end, struct pipe_claim *claim) {
    u64 whole = 0, text = 0;
    while (whole < run->count && text + run->size[whole] <= end) text += run->size[whole++];
    *claim = (struct pipe_claim){.first = run->first, .count = whole + (text < end), .least = run->least, .from = from, .to = end - text};
    return text + whole * PIPE_EXTRA;
}

/* Nothing waits: only who claimed a record takes it out. Where the kernel does not know the flag, it is believed. */
static void take_out(struct channel *channel, u64 size) {
    const u64 vector[2] = {addr_of(window), size};
    long n = channel->stream || !size ? stream_take_out(channel, window, size) : SYS6(__NR_preadv2, channel->fd, vector, 1, -1, 0, NO_WAIT);
    if (n == -EOPNOTSUPP) SYS3(__NR_read, channel->fd, window, size);
}

/* Who claimed it was killed before he took it out, or somebody put it in a second time. */
static long drop_read(struct channel *channel, const struct run *run, u32 *naps) {
    console_nap();
    if (++*naps > PATIENCE) take_out(channel, PIPE_EXTRA + (u64)run->size[0]);
    return -EINTR;
}

/* The guard may not have heard yet that a writer was killed. */
static long at_end(u64 id) {
    for (u32 naps = 0; naps < PATIENCE; naps++) {
        long error = pipe_ask_end(id);
        if (error != -EBADMSG) return error ? -EIO : 0;
        console_nap();
    }
    return damaged();
}

/* MSG_PEEK: as much as there is, and it stays. */
static long show(const struct channel *channel, const struct run *run, const struct buffers *to, u64 wanted) {
    u64 records, from, n;
    if (pipe_ask_look(channel->id, &records, &from)) return -EIO;
    n = from < run->text ? min_u64(wanted, run->text - from) : 0;
    return buffers_put(to, 0, window + from, n) ? (long)n : -EFAULT;
}

static bool is_begun(u64 id) { return begun.size && begun.id == id && last.id == id && last.number == begun.number && last.from; }

static void take_begun(struct run *run) {
    *run = (struct run){.first = begun.number, .count = 1, .least = begun.least, .text = begun.size, .size = {(u16)begun.size}};
    memcpy(window, begun.text, begun.size);
}

static void note_begun(u64 id, const struct run *run, const struct pipe_claim *claim) {
    u64 at = 0, whole = claim->count - 1;
    if (!claim->to || is_begun(id)) return;
    for (u64 i = 0; i < whole; i++) at += run->size[i];
    begun.id = id, begun.number = run->first + whole, begun.least = min_u64(run->least, begun.number), begun.size = run->size[whole];
    memcpy(begun.text, window + at, begun.size);
}

static long give(struct channel *channel, const struct run *run, const struct buffers *to, u64 done, u64 wanted, u32 *naps) {
    struct pipe_claim claim;
    u64 id = channel->id, from = last.id == id && last.number == run->first ? last.from : 0;
    for (;;) {
        u64 n = from < run->text ? min_u64(wanted, run->text - from) : 0, over = claim_until(run, from, from + n, &claim);
        if (!n) return damaged();
        if (!buffers_writable(to, done + n)) return -EFAULT;
        long error = pipe_ask_take(id, &claim);
        if (error == -EALREADY) return drop_read(channel, run, naps);
        if (error && (error != -EAGAIN || claim.from == from)) return error == -ENOSYS ? -EIO : damaged();
        from = error ? claim.from : from;
        if (error) continue;
        (void)!buffers_put(to, done, window + from, n);
        note_begun(id, run, &claim);
        last.id = id, last.number = claim.first + claim.count - (claim.to ? 1 : 0), last.from = claim.to;
        take_out(channel, over);
        return (long)n;
    }
}

/* With the lock held: bytes; 0 at the end; -EAGAIN; -EINTR to look again. */
static long take(struct channel *channel, const struct buffers *to, u64 done, u64 wanted, u32 *naps) {
    struct run run;
    if (!channel->looks && is_begun(channel->id)) {
        take_begun(&run);
        long n = give(channel, &run, to, done, wanted, naps);
        if (n == -EINTR) begun.size = 0; /* others went on with it */
        return n;
    }
    u64 before = channel->looks ? PIPE_TEXT : last.id == channel->id ? last.from : 0;
    long size = look(channel, before + wanted);
    if (size == 0) return at_end(channel->id);
    if (failed(size)) return size;
    if (!open_run(channel, (u64)size, before + wanted, &run)) return damaged();
    return channel->looks ? show(channel, &run, to, wanted) : give(channel, &run, to, done, wanted, naps);
}

/* As much as there is, up to what is wanted. */
static long take_all(struct channel *channel, const struct buffers *to, u64 *done, u32 *naps) {
    long size = buffers_size(to), n = size;
    while (size > 0 && *done < (u64)size && n > 0) {
        n = take(channel, to, *done, (u64)size - *done, naps);
        if (n > 0) *done += (u64)n;
        if (channel->looks || channel->received) break;
    }
    return n;
}

/* ---- waiting: in tee(2), which the kernel begins again after a signal where read(2) would be */

static struct wait {
    u32 thread;
    int pair[2];
} waits[WAITS]; /* whose handler jumped out of it left its pipe */

static void close_pair(const int pair[2]) {
    SYS1(__NR_close, pair[0]);
    SYS1(__NR_close, pair[1]);
}

static struct wait *note_wait(const int pair[2]) {
    u32 me = (u32)SYS0(__NR_gettid);
    for (u32 i = 0; i < WAITS; i++)
        if (waits[i].thread == me) {
            close_pair(waits[i].pair);
            waits[i].thread = 0;
        }
    for (u32 i = 0; i < WAITS; i++) {
        u32 nobody = 0;
        if (!__atomic_compare_exchange_n(&waits[i].thread, &nobody, me, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) continue;
        waits[i].pair[0] = pair[0], waits[i].pair[1] = pair[1];
        return &waits[i];
    }
    return NULL;
}

static long wait_at_pipe(const struct call *call, int fd) {
    int pair[2];
    long n = SYS2(__NR_pipe2, pair, O_CLOEXEC);
    if (failed(n)) return n;
    struct wait *noted = note_wait(pair);
    shield_unblock(call);
    n = SYS4(__NR_tee, fd, pair[1], 1, 0);
    shield_block(call);
    close_pair(pair);
    if (noted) __atomic_store_n(&noted->thread, 0, __ATOMIC_RELEASE);
    return failed(n) ? n : 0;
}

static long wait_for_record(const struct call *call, const struct channel *channel) {
    if (!channel->stream) return wait_at_pipe(call, channel->fd);
    shield_unblock(call);
    long n = stream_await(channel);
    shield_block(call);
    return n;
}

long pipe_read(const struct call *call, struct channel *channel, const struct buffers *to) {
    u64 done = 0;
    for (u32 naps = 0;;) {
        struct lock_guard lock;
        lock_take(&lock, call->frame != NULL);
        long n = pipe_is_there(channel) ? take_all(channel, to, &done, &naps) : -EBADF;
        lock_give(&lock);
        if (n == -EINTR && !done) continue;
        bool await = n == -EAGAIN && !channel->at_once && !console_is_nonblocking(channel->fd) && (!done || channel->all);
        if (!await) return done ? (long)done : n;
        n = wait_for_record(call, channel);
        if (failed(n)) return done ? (long)done : n;
    }
}

long pipe_waiting(const struct channel *channel) {
    u64 records, from;
    u32 bytes = 0;
    long error = SYS3(__NR_ioctl, channel->fd, FIONREAD, &bytes);
    if (!failed(error)) error = pipe_ask_look(channel->id, &records, &from);
    u64 extra = failed(error) ? 0 : records * PIPE_EXTRA + from;
    return failed(error) ? -EIO : bytes > extra ? (long)(bytes - extra) : 0;
}
