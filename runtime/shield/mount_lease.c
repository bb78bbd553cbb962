/* Beside other families as if alone (guard_lease.h). A family that asked often in a row and found nothing new asks for the lease, with
 * the container locked for writing, so that nobody else is in the middle of anything. While it has it, it neither asks nor tells, but
 * for its commits, of which the guard hears: what that knows is then on the disk and is not written over.
 *
 * When another family asks, the guard sends a signal to a process of this one (trap.c): what was changed is published, and the lease goes
 * back with the new root in one step. Who exits or executes gives it back before. A family that is killed loses what it did since its
 * last commit, as one that is alone. */
#include "mount_arena.h"
#include "state.h"

enum { EAGER = 20, NAP = 100 * 1000, NAP_MOST = 5 * 1000 * 1000 /* nanoseconds */, PATIENCE = 30 /* seconds */ };

/* The other family's thread may wait for something else, or be stopped: then not for ever. */
bool lease_await(struct mount *mount, struct lease_wait *wait) {
    u64 now = container_second(mount);
    if (!wait->rounds++) wait->until = now + PATIENCE;
    if (now > wait->until) return false;
    if (wait->rounds < EAGER) {
        SYS0(__NR_sched_yield);
        return true;
    }
    const u64 nap[2] = {0, min_u64(NAP + (wait->rounds - EAGER) * NAP, NAP_MOST)};
    SYS2(__NR_nanosleep, nap, 0);
    return true;
}

long lease_root(struct mount *mount, struct guard_root *kept, u64 *families) {
    struct lease_wait wait = {0};
    long error;
    do error = guard_root(mount_slot(mount), mount->arena->lease, kept, families);
    while (error == -EBUSY && lease_await(mount, &wait));
    return error;
}

/* What is lost by that, the engine's state knows (lose): so the other mounts have their turn, whatever comes of it. */
static void give_back(struct work *work) {
    struct mount *mount = work->mount;
    if (mount->arena->volume && !mount->arena->read_only && !state_ready(mount, work->broken)) (void)!state_return(mount);
}

static void return_held(void *work) {
    if (((struct work *)work)->mount->arena->lease) give_back(work);
}

static void return_any(void *work) { give_back(work); }

void lease_return_held(void) { (void)!mount_each(return_held); }

/* The answer that gave this family a lease may have been lost with the thread that asked. */
bool mount_recalled(void) {
    struct lock_guard lock;
    lock_take(&lock, true);
    u64 before = arena_waits;
    (void)!mount_each(return_any);
    bool waited = arena_waits != before;
    lock_give(&lock);
    return !waited;
}
