/* Which inodes are open somewhere in the family, and so live on without a name. Where there are other families nothing is released, for
 * they may have it open: it goes when some family is alone again, or when a tree first opens the volume. */
#include "mount_arena.h"

static struct hold *find(struct arena *arena, u64 inode) {
    for (u32 i = 0; i < HOLDS; i++) {
        struct hold *hold = &arena->hold[(inode + i) % HOLDS];
        if (!hold->inode || hold->inode == inode) return hold;
    }
    return NULL;
}

static bool is_held(struct arena *arena, u64 inode) {
    const struct hold *hold = find(arena, inode);
    return arena->holds_lost || (hold && hold->count);
}

/* Released ones are no inodes any more: -ESTALE. */
static bool is_nameless(struct volume *volume, u64 inode) {
    struct inode status;
    return !volume_status(volume, inode, &status) && !status.links;
}

static void put_off(struct arena *arena, u64 inode) {
    if (arena->pending_count < PENDING) arena->pending[arena->pending_count++] = (u32)inode;
}

/* An error of releasing leaves what nobody can reach any more: room that comes back when the volume is opened again. */
static void release(struct mount *mount, u64 inode) {
    struct arena *arena = mount->arena;
    if (arena->read_only || is_held(arena, inode) || !is_nameless(arena->volume, inode)) return;
    if (arena->shared) put_off(arena, inode);
    else (void)!volume_release(arena->volume, inode);
}

void holds_sweep(struct mount *mount) {
    struct arena *arena = mount->arena;
    u32 count = arena->pending_count;
    arena->pending_count = 0;
    for (u32 i = 0; i < count; i++) release(mount, arena->pending[i]);
    for (u64 i = 0, inode; (inode = volume_nameless(arena->volume, i)); i++) release(mount, inode);
}

void mount_hold(struct mount *mount, u64 inode) {
    struct hold *hold = find(mount->arena, inode);
    if (hold) {
        hold->inode = (u32)inode;
        hold->count++;
    } else mount->arena->holds_lost = true;
}

/* Those behind it that would not be found any more move up. Whoever is killed in between leaves the rest with nothing that is released. */
static void take_out(struct arena *arena, struct hold *hold) {
    u32 hole = (u32)(hold - arena->hold);
    bool lost = arena->holds_lost;
    arena->holds_lost = true;
    __asm__ volatile("" ::: "memory");
    *hold = (struct hold){0};
    for (u32 at = (hole + 1) % HOLDS; arena->hold[at].inode; at = (at + 1) % HOLDS) {
        u32 from_home = (at - arena->hold[at].inode) % HOLDS, from_hole = (at - hole) % HOLDS;
        if (from_home < from_hole) continue;
        arena->hold[hole] = arena->hold[at];
        arena->hold[at] = (struct hold){0};
        hole = at;
    }
    __asm__ volatile("" ::: "memory");
    arena->holds_lost = lost;
}

void mount_drop(struct mount *mount, u64 inode) {
    struct hold *hold = find(mount->arena, inode);
    if (!hold || !hold->count || --hold->count) return;
    take_out(mount->arena, hold);
    release(mount, inode);
}

long mount_remove(struct mount *mount, u64 directory, struct name name) {
    struct volume *volume = mount->arena->volume;
    long inode = volume_find(volume, directory, name), error = volume_remove(volume, directory, name);
    if (!error && inode >= 0) release(mount, (u64)inode);
    return error;
}

long mount_rename(struct mount *mount, u64 from, struct name old, u64 to, struct name new) {
    struct volume *volume = mount->arena->volume;
    long replaced = volume_find(volume, to, new), error = volume_rename(volume, from, old, to, new);
    if (!error && replaced >= 0) release(mount, (u64)replaced);
    return error;
}
