#include "guard_pipes.h"

#include <linux/errno.h>

enum { TICKETS = 16, QUIET = 8, AHEAD = 256, WORD = 64, SOMEBODY = 0xffffffff };

/* Numbers that were given. `tid` 0: no ticket. Its thread may be writing them now; `lost`: they may never come, for it was killed. */
struct ticket {
    u64 first;
    u32 count, tid;
    bool lost;
};

struct pipe {
    u64 used;           /* when, by the clock of all pipes */
    u64 sent, read;     /* numbers given; all below were read */
    u64 part_of, part;  /* so much of that record was read */
    u64 ahead[AHEAD / WORD]; /* those behind `read` that were read before it, by their number */
    struct ticket tickets[TICKETS];
};

static u64 ids[PIPES_MOST] BEHIND;
static struct pipe pipes[PIPES_MOST] BEHIND;
static u32 pipes_used;
static u64 clock;

static struct pipe *find(u64 id) {
    for (u32 i = 0; id && i < pipes_used; i++)
        if (ids[i] == id) {
            pipes[i].used = ++clock;
            return &pipes[i];
        }
    return NULL;
}

/* Where there is no room, the one that was not used for longest goes. Whoever comes back to it is refused. */
long guard_pipes_new(u64 id) {
    u32 place = 0;
    if (!id || find(id)) return -EEXIST;
    if (pipes_used < PIPES_MOST) place = pipes_used++;
    else
        for (u32 i = 1; i < PIPES_MOST; i++)
            if (pipes[i].used < pipes[place].used) place = i;
    ids[place] = id;
    pipes[place] = (struct pipe){.used = ++clock};
    return 0;
}

/* ---- writing */

static bool is_over(const struct pipe *pipe, const struct ticket *ticket) { return !ticket->tid || ticket->first + ticket->count <= pipe->read; }

static bool may_be_lost(const struct pipe *pipe, u64 number) {
    for (u32 i = 0; i < TICKETS; i++) {
        const struct ticket *ticket = &pipe->tickets[i];
        if (ticket->tid && ticket->lost && number - ticket->first < ticket->count) return true;
    }
    return false;
}

static bool has_open(const struct pipe *pipe) {
    for (u32 i = 0; i < TICKETS; i++)
        if (!is_over(pipe, &pipe->tickets[i]) && !pipe->tickets[i].lost) return true;
    return false;
}

static u64 least_open(const struct pipe *pipe) {
    u64 least = pipe->sent;
    for (u32 i = 0; i < TICKETS; i++) {
        const struct ticket *ticket = &pipe->tickets[i];
        if (!is_over(pipe, ticket) && !ticket->lost && ticket->first < least) least = ticket->first;
    }
    return least;
}

static void close_tickets(struct pipe *pipe, u32 tid) {
    for (u32 i = 0; i < TICKETS; i++)
        if (pipe->tickets[i].tid == tid) pipe->tickets[i].tid = 0;
}

static u32 tickets_kept(const struct pipe *pipe) {
    u32 kept = 0;
    for (u32 i = 0; i < TICKETS; i++) kept += !is_over(pipe, &pipe->tickets[i]);
    return kept;
}

static bool is_open_between(const struct pipe *pipe, u64 first, u64 end) {
    for (u32 i = 0; i < TICKETS; i++) {
        const struct ticket *ticket = &pipe->tickets[i];
        if (!is_over(pipe, ticket) && !ticket->lost && ticket->first < end && ticket->first + ticket->count > first) return true;
    }
    return false;
}

/* Two that are lost become one, which stands for what is between them too, unless that may still be written: then more may be kept back
 * unnoticed than need be, but nothing is missed. */
static bool join(struct pipe *pipe, struct ticket *one, struct ticket *other) {
    u64 first = min_u64(one->first, other->first), end = max_u64(one->first + one->count, other->first + other->count);
    if (!one->lost || !other->lost || end - first > ~0U || is_open_between(pipe, first, end)) return false;
    *one = (struct ticket){.first = first, .count = (u32)(end - first), .tid = SOMEBODY, .lost = true};
    other->tid = 0;
    return true;
}

static struct ticket *find_room(struct pipe *pipe) {
    for (u32 i = 0; i < TICKETS; i++)
        if (is_over(pipe, &pipe->tickets[i])) return &pipe->tickets[i];
    for (u32 i = 0; i < TICKETS; i++)
        for (u32 j = 0; j < i; j++)
            if (join(pipe, &pipe->tickets[j], &pipe->tickets[i])) return &pipe->tickets[i];
    return NULL;
}

long guard_pipes_send(u64 id, u32 tid, struct pipe_numbers *numbers) {
    struct pipe *pipe = find(id);
    if (!pipe) return -ESTALE;
    close_tickets(pipe, tid);
    struct ticket *ticket = find_room(pipe);
    if (!ticket) return -EAGAIN;
    u64 count = has_open(pipe) ? 1 : min_u64(numbers->count, PIPE_NUMBERS);
    *numbers = (struct pipe_numbers){.first = pipe->sent, .count = count, .least = least_open(pipe), .crowded = tickets_kept(pipe) >= QUIET};
    *ticket = (struct ticket){.first = pipe->sent, .count = (u32)count, .tid = tid};
    pipe->sent += count;
    return 0;
}

long guard_pipes_sent(u64 id, u32 tid) {
    struct pipe *pipe = find(id);
    if (!pipe) return -ESTALE;
    close_tickets(pipe, tid);
    return 0;
}

/* Its own ticket is cut where that began; what is lost may have needed room that it has given up. */
long guard_pipes_unsent(u64 id, u32 tid, const struct pipe_numbers *numbers, bool sure) {
    struct pipe *pipe = find(id);
    u64 first = numbers->first, count = numbers->count;
    if (!pipe) return -ESTALE;
    if (!count || count > PIPE_NUMBERS || first < pipe->read || first > pipe->sent || count > pipe->sent - first) return -EINVAL;
    close_tickets(pipe, tid);
    if (sure && first + count == pipe->sent) {
        pipe->sent = first;
        return 0;
    }
    struct ticket *ticket = find_room(pipe);
    if (!ticket) return -EINVAL;
    *ticket = (struct ticket){.first = first, .count = (u32)count, .tid = SOMEBODY, .lost = true};
    return 0;
}

static void end_ticket(struct ticket *ticket, bool killed) {
    if (killed) ticket->tid = SOMEBODY, ticket->lost = true;
    else ticket->tid = 0;
}

void guard_pipes_ended(u32 tid, bool killed) {
    for (u32 i = 0; i < pipes_used; i++)
        for (u32 j = 0; j < TICKETS; j++)
            if (pipes[i].tickets[j].tid == tid) end_ticket(&pipes[i].tickets[j], killed);
}

/* ---- reading */

static u64 *word_of(struct pipe *pipe, u64 number) { return &pipe->ahead[number % AHEAD / WORD]; }
static bool was_read(struct pipe *pipe, u64 number) { return number < pipe->read || *word_of(pipe, number) >> number % WORD & 1; }

static bool is_complete(struct pipe *pipe, u64 end) {
    for (u64 number = pipe->read; number < end; number++)
        if (!(number - pipe->read < AHEAD && was_read(pipe, number)) && !may_be_lost(pipe, number)) return false;
    return true;
}

/* On to the first that may still come. What is lost is known to be so only if a later writer's `least` says it. */
static void move_on(struct pipe *pipe, u64 least) {
    while (pipe->read < pipe->sent && (was_read(pipe, pipe->read) || (pipe->read < least && may_be_lost(pipe, pipe->read)))) {
        *word_of(pipe, pipe->read) &= ~(1UL << pipe->read % WORD);
        pipe->read++;
    }
}

static long check(struct pipe *pipe, struct pipe_claim *claim) {
    u64 end = claim->first + claim->count;
    if (!claim->count || claim->count > PIPE_NUMBERS || end > pipe->sent || claim->least > claim->first) return -EBADMSG;
    if (claim->first < pipe->read) return -EALREADY;
    if (end - pipe->read > AHEAD) return -EBADMSG;
    if (was_read(pipe, claim->first)) return -EALREADY;
    if (!is_complete(pipe, claim->least)) return -EBADMSG;
    for (u64 number = claim->first + 1; number < end; number++)
        if (was_read(pipe, number)) return -EBADMSG;
    if (pipe->part && pipe->part_of != claim->first) return -EBADMSG; /* it stands first until all of it was read */
    if (claim->from == pipe->part) return 0;
    claim->from = pipe->part;
    return -EAGAIN;
}

long guard_pipes_take(u64 id, struct pipe_claim *claim) {
    struct pipe *pipe = find(id);
    long error = pipe ? check(pipe, claim) : -ESTALE;
    if (error) return error;
    u64 whole = claim->count - (claim->to ? 1 : 0);
    for (u64 number = claim->first; number < claim->first + whole; number++) *word_of(pipe, number) |= 1UL << number % WORD;
    pipe->part = claim->to;
    pipe->part_of = claim->first + whole;
    move_on(pipe, claim->least);
    return 0;
}

long guard_pipes_end(u64 id) {
    struct pipe *pipe = find(id);
    if (!pipe) return -ESTALE;
    return !pipe->part && is_complete(pipe, pipe->sent) ? 0 : -EBADMSG;
}

long guard_pipes_look(u64 id, u64 *count, u64 *from) {
    struct pipe *pipe = find(id);
    if (!pipe) return -ESTALE;
    *from = pipe->part;
    *count = 0;
    for (u64 number = pipe->read; number < pipe->sent; number++) *count += !(number - pipe->read < AHEAD && was_read(pipe, number));
    return 0;
}
