/* What the files of mounts share. */
#ifndef CLOISTER_SHIELD_MOUNT_ARENA_H
#define CLOISTER_SHIELD_MOUNT_ARENA_H

#include "deferral.h"
#include "guard_words.h"
#include "mount.h"
#include "policy.h"

enum { ARENA_STACK = 24 << 10, HOLDS = 4096, PENDING = 256, RUN_MOST = 32, MOUNTS_MOST = POLICY_FILES_MOST };

struct hold {
    u32 inode, count;
};

struct run {
    u64 first, count;
    u8 blocks[RUN_MOST][BLOCK];
};

/* Begins as zeros. In secret memory that all processes of the family have mapped at the same place, and nobody else. */
struct arena {
    u32 lock;                  /* the holder's thread id, as the kernel wants it for robust futexes; 0 free */
    u32 waiting;               /* somebody may wait for it; */
    u32 hungry;                /* this thread has waited long */
    bool broken;               /* the engine's state is not to be believed: mount_state.c */
    bool forked;               /* the family may be more than one process, for good */
    bool shared;               /* other families may change the volume, */
    u32 lease;                 /* but not as long as this one has the lease: its number (guard_words.h), or 0 */
    u32 calm;                  /* how often in a row it was asked for news and there was none */
    bool holds_lost;           /* there was no room for a hold: no inode is released any more */
    bool untidy;               /* inodes without a name may be there that nobody has open */
    bool read_only;
    bool older;                /* than the policy asks for */
    bool tried;                /* it could not be opened once, because the broker did not answer: the engine's memory is not zeros */
    long error;                /* it could not be opened, and will not be */
    struct volume *volume;     /* NULL: not opened yet */
    struct volume_root root[2];
    u32 root_now;              /* which of them; the other is written to before this says so */
    u64 losses;                /* how often something was lost */
    u64 moment[2];             /* what the kernel tells of the time */
    u64 committed_at;          /* the second of the last commit */
    u64 not_started;           /* blocks that were written and that the disk was not told of */
    u32 pending_count;
    u32 pending[PENDING];      /* inodes that have lost their names while there were other families */
    struct hold hold[HOLDS];   /* by inode, open addressing: of those that are open */
    u8 stack[ARENA_STACK] __attribute__((aligned(64)));
    struct run run;            /* of blocks to be written: mount_container.c */
};

/* One for each region, in each process its own; a forked child begins with a copy. */
struct mount {
    struct arena *arena;
    const struct shield_files *entry;
    int container;
    u8 key[KEY_SIZE];
    u64 size;                  /* of the arena, which the engine's memory is the rest of */
    u64 losses_told;
    struct robust_head *head;  /* the holder's robust list, */
    void *pending_before;      /* and what it had pending */
    bool written;              /* the container is locked against other families: for writing; */
    bool entered_shared;       /* at all */
    bool alone;                /* entered without the family's lock, of which there is no need */
};

extern struct mount mounts_of_process[MOUNTS_MOST];
extern bool mounts_settled;

/* mount_lock.c: the family's lock. True if whoever had it was killed meanwhile, or left the arena broken. */
NODISCARD bool arena_lock(struct mount *mount);
extern u64 arena_waits; /* how often this process had to sleep for one; under the lock of `state` */
void arena_unlock(struct mount *mount);
void arena_leave(struct mount *mount); /* the container's lock too: mount.c */

/* mount_container.c */
NODISCARD long container_open(struct mount *mount);
struct volume_io container_io(struct mount *mount);
NODISCARD bool container_is_empty(struct mount *mount);
/* Written blocks may wait until the next sync or this, which must come before other families are told of them. */
NODISCARD long container_flush(struct arena *arena);
void container_forget(struct arena *arena); /* what waits was of a state that is given up */
NODISCARD long container_lock(struct mount *mount, bool writing); /* among families; waits */
void container_unlock(struct mount *mount);
u64 container_second(struct mount *mount); /* of a clock that goes on */

/* mount_state.c: with the family's lock held. */
NODISCARD long state_ready(struct mount *mount, bool broken); /* opens, or makes whole what is broken */
NODISCARD long state_refresh(struct mount *mount, bool changes); /* other families' changes: the container is locked then */
NODISCARD long state_give_out(struct mount *mount);              /* others see what was changed; an error: it is undone */
NODISCARD long state_tidy(struct mount *mount); /* before changes */
NODISCARD long state_commit(struct mount *mount); /* -EREMOTEIO: it is on the disk, but the broker has not heard of it */
NODISCARD long state_commit_unasked(struct mount *mount); /* as nobody waits for it, the broker's answer does not matter */
NODISCARD long state_share(struct mount *mount); /* a family that was alone tells all, and is not alone any more */
NODISCARD long state_return(struct mount *mount); /* the same of one that had the lease, or may have had it */
struct volume_root *state_root(struct mount *mount);
u32 mount_slot(const struct mount *mount);

/* mount_lease.c: begins as zeros. False if it has waited long enough. */
struct lease_wait {
    u64 rounds, until;
};
NODISCARD bool lease_await(struct mount *mount, struct lease_wait *wait);
/* As guard_root, and waits while another family has the lease; the container must not be locked. */
NODISCARD long lease_root(struct mount *mount, struct guard_root *kept, u64 *families);
void lease_return_held(void); /* with the lock of `state` held */
/* Whether others' changes must be looked for, and own ones told. */
static inline bool is_among_others(const struct arena *arena) { return arena->shared && !arena->lease && !arena->read_only; }

/* mount_family.c: for each mount of this process that is in use, on the arena's stack with its lock held, until one fails. */
struct work {
    struct mount *mount;
    bool broken;
    long error;
};
NODISCARD long mount_each(void (*function)(void *));

/* mount_holds.c */
void holds_sweep(struct mount *mount); /* the family is alone again */

/* A durable commit has this root now: where the policy has FILES_REPORT_ROOT the broker shall keep it. -EREMOTEIO if it did not say so. */
NODISCARD long mount_report_root(const struct mount *mount, const struct volume_root *root);
/* The volume is opened, for the first time in this tree or not: from now on its states are by this start of the program, whom the broker
 * knows for that before there is one. */
NODISCARD long mount_take_over(struct mount *mount, bool first);

#endif
