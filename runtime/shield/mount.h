/* A volume in use: what a FILES entry of the policy says, its engine, and who may change it when.
 *
 * All processes that come of one image by fork are a family. They share one arena (secret memory): the engine's state, its cache, its
 * lock. Another family is what comes by execve(2). While there is one family in the tree, changes are written out only by mount_sync,
 * at the end and before an exec. While there are more, each enter looks for what others changed and each leave writes out (mount.c),
 * unless the family has the lease (mount_lease.c).
 *
 * Lock order: the lock of `state` (lock_take) first, which the caller holds, with all signals blocked; a mount's lock inside it. So
 * nothing here takes the lock of `state`. One mount at a time. */
#ifndef CLOISTER_SHIELD_MOUNT_H
#define CLOISTER_SHIELD_MOUNT_H

#include "../volume/volume.h"
#include "rt.h"

struct mount;
struct shield_files; /* policy.h */

/* At the start of every image, before the program's first instruction, one call for each FILES entry, in the policy's order: opens the
 * container and reserves the arena, and touches neither. 0 or -errno. */
NODISCARD long mount_open(const struct shield_files *entry, struct mount **out);

/* Blocks signals and takes the lock. Then the engine is as new as the tree's last change. 0 or -errno: -EIO (what was there is
 * lost, or somebody else won), -EBADMSG (the container does not hold what was written). Opens or makes the volume if this is the first
 * time. After an error nothing is held. */
NODISCARD long mount_enter(struct mount *mount, bool changes);
/* Without entering it: the same if nobody but this process can change it, and only with the lock of `state`; else NULL. */
struct volume *mount_peek(const struct mount *mount);
struct volume *mount_volume(struct mount *mount); /* between enter and leave */
/* 0, or an error of writing out: then what was done since the enter is not done. */
NODISCARD long mount_leave(struct mount *mount);
/* Between enter and leave: everything is durable. -EIO once in each process after something of this volume was lost. */
NODISCARD long mount_sync(struct mount *mount);
/* Without entering it: whether something that others gave out is not durable yet. For sync(2) of who has not used the volume. */
NODISCARD bool mount_is_left_over(const struct mount *mount);

/* Between enter and leave. Open descriptors keep inodes alive that have lost their names. */
void mount_hold(struct mount *mount, u64 inode);
void mount_drop(struct mount *mount, u64 inode);
/* As volume_remove and volume_rename; what loses its last name and is not held, is released. */
NODISCARD long mount_remove(struct mount *mount, u64 directory, struct name name);
NODISCARD long mount_rename(struct mount *mount, u64 from, struct name old, u64 to, struct name new);

/* At the start of every image, when what it inherited is held: until then nothing is released on the ground that nobody holds it. */
void mount_settle(void);

/* Before a fork, with the lock of `state` held. */
void mount_before_fork(void);
/* Before execve(2), in any thread, and if it has failed. Writes out what this family changed. `holding`: what this process's table has is
 * held on its account; then it is not from here on. */
NODISCARD long mount_before_exec(bool holding);
void mount_exec_failed(bool holding);
/* The guard has called a lease back (guard_lease.h): in the handler of SIGSYS, holding no lock. False if it had to wait for another
 * process of the family. */
NODISCARD bool mount_recalled(void);
/* Before exit_group(2): makes durable what this family changed, if it is the last to know. */
void mount_before_exit(bool holding);

#endif
