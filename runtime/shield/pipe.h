/* Sealed pipes: what one process of the tree writes to another. The kernel carries records, and keeps the order, readiness, ends and who
 * waits; so poll(2), SIGPIPE, the end of file and inheritance are its own.
 *
 * - A record is at most PIPE_BUF bytes, so that the kernel never cuts one in two or lets another writer in between.
 * - It stays in the kernel's pipe until all of it was read: it is looked at through tee(2), claimed from guard 1, and only then taken out. So
 *   what is left of it is there for the next reader, in whatever process, and poll(2) says so.
 * - What was read and written stands in guard 1 (guard_pipes.h): a record that is changed, kept back, put in again or exchanged by who has a
 *   copy of the descriptor is an error to who reads.
 *
 * One end of socketpair(2) is both, with a number of records for each direction; there MSG_PEEK looks.
 *
 * Only pipes that the program makes are sealed. Those that it was started with lead outside. */
#ifndef CLOISTER_SHIELD_PIPE_H
#define CLOISTER_SHIELD_PIPE_H

#include "shield.h"

struct buffers;

/* What an entry's `region` says of a descriptor; and `access`, of one end of socketpair(2): it reads records of `object`, and writes those of
 * `object` ^ 1. */
enum pipe_end { PIPE_READS = 1, PIPE_WRITES = 2 };
enum { PIPE_STREAM = 1 };

/* One direction of a descriptor, and how it is used now. The control data are those of recvmsg(2) and sendmsg(2). */
struct channel {
    int fd;
    u64 id;
    u64 object;                       /* of the table's entry */
    bool stream, at_once, looks, all; /* MSG_DONTWAIT, MSG_PEEK, MSG_WAITALL */
    u32 flags;                        /* what else the kernel is told; then what it says */
    u64 control, control_size;        /* 0: none */
    bool received;                    /* these */
};
static inline struct channel pipe_channel(int fd, const struct shielded *entry, bool writes) {
    bool stream = entry->access & PIPE_STREAM;
    return (struct channel){.fd = fd, .id = entry->object ^ (u64)(stream && writes), .object = entry->object, .stream = stream};
}
/* Whether its number still means it, which another thread may have closed. With the lock held. */
NODISCARD bool pipe_is_there(const struct channel *channel);

/* Whether this tree's pipes are sealed: where else no plaintext leaves it. */
static inline bool pipes_are_sealed(void) { return policy.console.key || (policy.strict && policy.files_count); }

/* pipe(2), pipe2(2) and socketpair(2). */
long pipe_new_call(struct call *call);
long pipe_call(struct call *call, int fd, const struct shielded *entry);
/* The program opens a descriptor's path (/dev/fd/63, /dev/stdin): SHIELD_PASS if it is no sealed pipe's. */
long pipe_open(const struct call *call);
/* In a new image: there are some. */
void pipe_inherited(void);
void pipe_before_exit(void);

long pipe_read(const struct call *call, struct channel *channel, const struct buffers *to);
long pipe_write(const struct call *call, struct channel *channel, const struct buffers *from);
/* The runtime itself says something there. With the lock held; where there is no room it is not said. */
void pipe_tell(struct channel *channel, const char *text, u64 size);
/* How many bytes can be read at once. */
long pipe_waiting(const struct channel *channel);
/* stream.c: recvmsg(2), sendmsg(2) and their kind; SHIELD_PASS for calls that move no bytes. */
long pipe_message_call(struct call *call, int fd, const struct shielded *entry);

/* stream.c: the kernel's side of a socketpair(2). */
long stream_look(int fd, u8 *to, u64 size);
long stream_take_out(struct channel *channel, u8 *to, u64 size);
long stream_send(struct channel *channel, const u8 *from, u64 size, bool at_once);
long stream_await(const struct channel *channel);

#endif
