/* Families come by execve(2) and go with their last process: what is to be done before. */
#include "mount_arena.h"
#include "state.h"
#include "table.h"
#include "working.h"

void rt_on_stack(void *stack_top, void (*function)(void *), void *argument);

/* On the arena's stack: the program's may be small (posix_spawn(3)). */
static long with_arena(struct mount *mount, void (*function)(void *)) {
    struct work work = {.mount = mount, .broken = arena_lock(mount)};
    rt_on_stack(mount->arena->stack + ARENA_STACK, function, &work);
    arena_leave(mount);
    return work.error;
}

long mount_each(void (*function)(void *)) {
    for (u32 i = 0; i < MOUNTS_MOST; i++) {
        struct mount *mount = &mounts_of_process[i];
        long error = mount->arena ? with_arena(mount, function) : 0;
        if (error) return error;
    }
    return 0;
}

/* ---- what a process holds goes with it. One that is killed keeps its holds: then room comes back when the volume is opened anew. */

static void for_one(struct mount *mount, const struct shielded *entry, bool hold) {
    if (entry->kind != SHIELD_FILE || entry->region != mount_slot(mount)) return;
    if (hold) mount_hold(mount, entry->object);
    else mount_drop(mount, entry->object);
}

static void for_own(const struct work *work, bool hold) {
    struct mount *mount = work->mount;
    struct shielded entry;
    if (!mount->arena->volume || work->broken) return;
    for (u64 fd = 0; fd < table_end(); fd++)
        if (table_get(fd, &entry)) for_one(mount, &entry, hold);
    for_one(mount, working_directory(), hold);
}

static void drop_own(void *work) { for_own(work, false); }
static void hold_own(void *work) { for_own(work, true); }

/* ---- exec */

/* From now on others may change the volume, so they must see what this family changed. Whoever has not touched it yet asks the guard
 * anyway. */
static void become_shared(void *argument) {
    struct work *work = argument;
    struct arena *arena = work->mount->arena;
    if (!arena->volume || arena->read_only || (arena->shared && !arena->lease)) return;
    work->error = state_ready(work->mount, work->broken);
    if (!work->error && arena->lease) work->error = state_return(work->mount);
    if (!work->error && !arena->shared) work->error = container_lock(work->mount, true);
    if (work->error || arena->shared) return;
    work->mount->entered_shared = true;
    work->error = state_share(work->mount);
}

/* The guard counts the new family from here on, so that nobody in this one believes to be alone again. */
long mount_before_exec(bool holding) {
    u64 families;
    struct lock_guard lock;
    lock_take(&lock, false);
    long error = guard_executing(true, &families);
    if (!error) error = mount_each(become_shared);
    if (error) (void)!guard_executing(false, &families);
    else if (holding) (void)!mount_each(drop_own);
    lock_give(&lock);
    return error ? -EIO : 0;
}

void mount_exec_failed(bool holding) {
    u64 families;
    struct lock_guard lock;
    lock_take(&lock, false);
    if (holding) (void)!mount_each(hold_own);
    (void)!guard_executing(false, &families);
    lock_give(&lock);
}

/* ---- exit */

/* Whether what was given out is in nobody's committed state. */
static bool is_left_over(struct mount *mount, const struct guard_root *kept) {
    const struct arena *arena = mount->arena;
    if (arena->volume && volume_is_changed(arena->volume)) return true;
    bool newer = !arena->volume || kept->generation >= state_root(mount)->generation;
    return kept->generation && (newer ? kept->place : state_root(mount)->place) >= SUPERBLOCKS;
}

bool mount_is_left_over(const struct mount *mount) {
    struct guard_root kept;
    u64 families;
    long error = guard_root(mount_slot(mount), mount->arena->lease, &kept, &families);
    return error == -EBUSY || (!error && kept.generation && kept.place >= SUPERBLOCKS);
}

static void commit_last(void *argument) {
    struct work *work = argument;
    struct mount *mount = work->mount;
    struct guard_root kept;
    u64 families;
    if (mount->arena->error || mount->arena->read_only) return;
    if (lease_root(mount, &kept, &families) || !is_left_over(mount, &kept)) return;
    if (state_ready(mount, work->broken)) return;
    if (is_among_others(mount->arena) && state_refresh(mount, true)) return;
    if (state_tidy(mount)) return;
    (void)!state_commit(mount);
}

/* Who leaves while others stay leaves it to them. One process of a family cannot know whether it is the last, so each commits. */
void mount_before_exit(bool holding) {
    u64 families;
    struct lock_guard lock;
    lock_take(&lock, false);
    if (holding) (void)!mount_each(drop_own);
    long error = guard_leaving(&families);
    lease_return_held();
    if (!error && families == 1) (void)!mount_each(commit_last);
    lock_give(&lock);
}
