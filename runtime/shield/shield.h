/* Shielded descriptors: what the program sees as a file, a terminal or a connection, and the kernel as something that holds no
 * plaintext. Their calls come here first (calls.c), from a patched site or by SIGSYS; whoever answers a kind of descriptor gets the
 * call with the table's entry.
 *
 *   kind     the kernel's object behind the number                            answered in
 *   file     the ledger, an empty sealed memfd: it keeps the offset and flags  file_*.c
 *   console  what leads to the person's relay                                  console*.c
 *   socket   a TCP socket that carries TLS                                     socket*.c
 *   pipe     a pipe that carries records                                       pipe*.c
 *
 * Rules for whoever answers:
 * - The program's signals: from a patched site (call->frame == NULL) its mask is in force and a blocking call can simply be made; in
 *   the handler of SIGSYS all are blocked, so shield_unblock() before a call that may wait and shield_block() after it. Hold no lock then.
 * - Pointers of the program are tried before use: shield_readable, shield_writable (with the lock held), else EFAULT.
 * - SHIELD_PASS lets the kernel answer, with the call's arguments as they are. */
#ifndef CLOISTER_SHIELD_SHIELD_H
#define CLOISTER_SHIELD_SHIELD_H

#include "call.h"
#include "policy.h"
#include "state.h"

enum { SHIELD_PASS = -4096 /* no errno */, SHIELD_STALE = SHIELD_PASS - 2 /* the number means something else by now */ };
/* Of `access`, beside open(2)'s flags. */
enum { SHIELDED_LINKABLE = 1 << 29 /* made without a name, and may get one */, SHIELDED_DIRECTORY = 1 << 30, SHIELDED_OWN = 3 << 29 };
enum shield_kind { SHIELD_NONE, SHIELD_FILE, SHIELD_CONSOLE, SHIELD_SOCKET, SHIELD_PIPE };

/* What the table holds of a descriptor. Copied by dup, fork and exec. */
struct shielded {
    u8 kind, region;
    u16 path;   /* file: its path when it was opened (kept_path.h); 0 for others, and where there was no room for it */
    u32 access; /* open(2)'s flags as far as they never change: O_ACCMODE, O_PATH, O_DIRECTORY; SHIELDED_OWN */
    u64 object; /* file: its inode; otherwise the kind's own number */
};

/* Whether there is anything to shield: what the filter and the patches of this tree see. */
static inline bool shield_is_on(void) { return state.shield.size != 0; }

/* The path of a directory that only the shields know, AT_HERE included; NULL if the kernel knows it. */
const char *shield_directory(int directory);
/* calls.c: the answer, or SHIELD_PASS. */
NODISCARD long shield_call(struct call *call);
/* trap.c: what the shields passed, answered in place by the rest of the runtime and the kernel. Holds no lock of its own. */
long trap_pass(struct call *call);
/* Whether nobody but the shields wants this call, so that the kernel gets it if they pass it. */
NODISCARD bool shield_only(u64 number);
/* Whether a deferred child's call needs the shields, so that it must be complete before. */
NODISCARD bool shield_concerns(u64 number, const u64 arg[6]);

/* After the provisioned state is there, before the program is loaded. */
void shield_begin(void);
/* Before fork(2), with the lock held. */
void shield_before_fork(void);
/* Whether a child may be put off (deferral.h): not where it holds connections, of which its parent must know at once. */
NODISCARD bool shield_may_defer(void);
/* In a forked child, before anything else of it; and when it has its own memory. */
void shield_forked(void);
void shield_child_complete(void);
/* Before execve(2), after which it may have failed; and before exit_group(2). */
NODISCARD long shield_before_exec(void);
void shield_exec_failed(void);
void shield_before_exit(void);
/* Before a signal ends the process, or does not after all: in the handler of SIGSYS. */
void shield_before_death(void);
/* The guard calls a lease of volumes back (guard_lease.h): in the handler of SIGSYS. False if that made a call with a time limit, so that
 * the kernel may have forgotten about the one that was interrupted. */
NODISCARD bool shield_recalled(void);

/* What is to be done once the lock has been given back: fcntl(2) that may wait. */
struct later {
    bool wanted;
    long fd;
    u64 command, record[4];
};

/* One function for each kind: `fd` is the call's descriptor, `entry` a copy of what the table says of it. The first is called with the
 * lock held, the others without it. */
long file_call(struct call *call, int fd, const struct shielded *entry, struct later *later);
long console_call(struct call *call, int fd, const struct shielded *entry);
long socket_call(struct call *call, int fd, const struct shielded *entry);
/* The calls that make sockets, for which no descriptor is shielded yet: socket(2), bind(2), connect(2), accept4(2), ... */
long socket_new_call(struct call *call);
/* Told when a descriptor of this kind was copied (dup, fork) or closed, after that happened, with the lock held. */
void file_copied(const struct shielded *entry);
void file_closed(const struct shielded *entry);
void console_begin(void);
void socket_copied(const struct shielded *entry);
void socket_closed(int fd, const struct shielded *entry); /* before it is closed */
void socket_dropped(const struct shielded *entry);
void socket_before_exec(void);
void socket_exec_failed(void);
void socket_before_exit(void);
NODISCARD bool socket_is_any(void);

/* Mappings of shielded files, with the lock held. The address of a shared one, SHIELD_PASS if the descriptor is of none, -errno. */
NODISCARD long shield_map(u64 address, u64 length, int protection, int flags, int fd, u64 offset);
/* Whether the file may be mapped so (0), SHIELD_PASS, or -errno; of private ones its bytes, whatever was there before. */
NODISCARD long shield_mappable(int fd, int protection, bool shared);
NODISCARD long shield_fill(int fd, u64 at, u64 length, u64 offset);
/* Before a range is unmapped, or something else is put there. */
void shield_unmapped(u64 start, u64 length);
NODISCARD bool shield_has_mapped(u64 start, u64 length);
/* Whether some of it was mapped from a descriptor for reading only. */
NODISCARD bool shield_is_read_only(u64 start, u64 length);
NODISCARD long shield_sync_mapped(u64 start, u64 length, bool durable);

/* For waiting in the handler of SIGSYS (nothing happens at a patched site). */
/* The lock of `state`, whichever signals are blocked. */
static inline void shield_lock(struct lock_guard *lock, const struct call *call) {
    if (call->held) lock_take_quiet(lock);
    else lock_take(lock, call->frame != NULL);
}
void shield_unblock(const struct call *call);
void shield_block(const struct call *call);
/* Whether all of it is the program's memory and may be read or written now. With the lock held. */
NODISCARD bool shield_readable(u64 address, u64 length);
NODISCARD bool shield_writable(u64 address, u64 length);

#endif
