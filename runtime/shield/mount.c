#include <linux/mman.h>

#include "areas.h"
#include "mount_arena.h"
#include "secret.h"
#include "state.h"

static const u64 default_cache = 64UL << 20, for_the_rest = 32UL << 20 /* bitmaps, most of it never touched */, least = 6UL << 20;

struct mount mounts_of_process[MOUNTS_MOST] BEHIND;
bool mounts_settled;

void mount_settle(void) { mounts_settled = true; }

/* ---- the arena */

/* Where the limit of locked memory leaves no room for so much cache, with less. */
static long map_arena(struct mount *mount) {
    u64 wanted = page_up(sizeof(struct arena)) + for_the_rest + page_up(mount->entry->cache ? mount->entry->cache : default_cache);
    long at = -ENOMEM;
    for (u64 size = wanted; failed(at) && size >= least; size = page_up(size / 2)) {
        at = secret_map(0, size, PROT_READ | PROT_WRITE, 0);
        mount->size = size;
    }
    if (failed(at)) return at;
    areas_put((u64)at, (u64)at + mount->size, AREA_SHARED_SECRET, PROT_READ | PROT_WRITE);
    mount->arena = ptr_of((u64)at);
    return 0;
}

long mount_open(const struct shield_files *entry, struct mount **out) {
    struct mount *mount = &mounts_of_process[entry->index];
    bool inherited = mount->container > 0;
    mount->entry = entry;
    if (!inherited) {
        long error = container_open(mount);
        if (failed(error)) return error;
    } else if (entry->kind != FILES_MEMORY) memcpy(mount->key, entry->key, sizeof mount->key);
    long error = map_arena(mount);
    if (failed(error)) return error;
    if (entry->flags & FILES_READ_ONLY) mount->arena->read_only = true;
    *out = mount;
    return 0;
}

/* ---- in use */

struct volume *mount_volume(struct mount *mount) { return mount->arena->volume; }

struct volume *mount_peek(const struct mount *mount) {
    const struct arena *arena = mount->arena;
    return arena->forked || is_among_others(arena) || arena->broken || arena->error ? NULL : arena->volume;
}

void arena_leave(struct mount *mount) {
    if (mount->entered_shared) container_unlock(mount);
    mount->entered_shared = false;
    arena_unlock(mount);
}

long mount_enter(struct mount *mount, bool changes) {
    bool broken = arena_lock(mount);
    long error = state_ready(mount, broken);
    if (!error && is_among_others(mount->arena)) error = state_refresh(mount, changes);
    if (!error && changes) error = state_tidy(mount);
    if (error) arena_leave(mount);
    return error == -EREMOTEIO ? -EIO : error;
}

long mount_leave(struct mount *mount) {
    long error = state_give_out(mount);
    arena_leave(mount);
    return error;
}

/* Entered for reading: others may be reading, too. */
static long become_writer(struct mount *mount) {
    if (!is_among_others(mount->arena) || mount->written) return 0;
    container_unlock(mount);
    return state_refresh(mount, true);
}

long mount_sync(struct mount *mount) {
    struct arena *arena = mount->arena;
    long error = arena->read_only ? 0 : become_writer(mount);
    if (!error && !arena->read_only) error = state_commit(mount);
    bool lost = mount->losses_told != arena->losses;
    mount->losses_told = arena->losses;
    return lost || error == -EREMOTEIO ? -EIO : error;
}
