/* Which state of a volume a family has before it, and how others learn of another.
 *
 * The guard keeps for each volume the root of the newest state that was given out (guard_words.h). A family that is alone in its tree
 * works on by itself; what it commits for durability it need not tell. A family that is not alone looks before and tells after: it
 * publishes its state on the container and swaps the root at the guard. The swap decides: who did not know the last root has lost,
 * however it came by the lock, and sees EIO and the true state, never a mixture.
 *
 * What was lost (the holder of the lock was killed in the middle, or a swap was): the family goes on with the newest state that was
 * committed or given out, and each of its processes hears of it at its next mount_sync, as fsync(2) tells of writes that failed. */
#include "mount_arena.h"
#include "mount_trouble.h"
#include "secret.h"
#include "state.h"

enum { CALM = 8 /* questions without news: then the lease is asked for */ };
enum { SECONDS_UNTIL_COMMIT = 5 }; /* as file systems with journals do: no more is lost by a kill or a power failure */

u32 mount_slot(const struct mount *mount) { return mount->entry->index; }

struct volume_root *state_root(struct mount *mount) { return &mount->arena->root[mount->arena->root_now]; }

static void note_root(struct mount *mount) {
    struct arena *arena = mount->arena;
    u32 other = 1 - arena->root_now;
    volume_root(arena->volume, &arena->root[other]);
    __atomic_store_n(&arena->root_now, other, __ATOMIC_RELEASE);
}

static struct guard_root to_guard(const struct volume_root *root) {
    struct guard_root kept = {.generation = root->generation, .place = root->place};
    memcpy(kept.digest, root->digest, sizeof kept.digest);
    return kept;
}

static struct volume_root from_guard(const struct guard_root *kept) {
    struct volume_root root = {.generation = kept->generation, .place = kept->place};
    memcpy(root.digest, kept->digest, sizeof root.digest);
    return root;
}

static bool is_same(const struct volume_root *one, const struct volume_root *other) {
    return one->generation == other->generation && !memcmp(one->digest, other->digest, sizeof one->digest);
}

static long lose(struct mount *mount, const struct volume_root *root) {
    struct arena *arena = mount->arena;
    arena->broken = true;
    arena->losses++;
    container_forget(arena);
    long error = volume_reload(arena->volume, root, true);
    if (error) return error;
    note_root(mount);
    arena->broken = false;
    return 0;
}

/* Alone or not; who becomes alone again tidies up at the next change. */
static void note_families(struct mount *mount, u64 families) {
    struct arena *arena = mount->arena;
    bool was = arena->shared;
    arena->shared = families != 1 || !mounts_settled;
    if (was && !arena->shared) arena->untidy = !arena->read_only;
}

long state_tidy(struct mount *mount) {
    struct arena *arena = mount->arena;
    if (!arena->untidy || arena->shared) return 0;
    long error = volume_prepare(arena->volume);
    if (error) return error;
    arena->untidy = false;
    holds_sweep(mount);
    return 0;
}

/* ---- opening */

/* Zeros ask for nothing. */
static bool is_as_wanted(const u8 *found, const u8 *wanted, size_t size) {
    static const u8 any[sizeof(struct volume_root)];
    return !memcmp(wanted, any, size) || !memcmp(found, wanted, size);
}

/* Least generation, and that one's digest; a later one is by whom the policy says, so that it goes back to that one. */
static bool is_recent(const struct mount *mount, const struct volume *volume, const struct volume_root *root) {
    const struct shield_files *entry = mount->entry;
    u8 writer[WRITER_SIZE];
    volume_writer(volume, writer);
    if (root->generation == entry->generation) return is_as_wanted(root->digest, entry->digest, sizeof root->digest);
    return root->generation > entry->generation && is_as_wanted(writer, entry->writer, sizeof writer);
}

struct memory {
    void *at;
    u64 size;
};

static struct memory engine_memory(const struct mount *mount) {
    u64 own = page_up(sizeof *mount->arena);
    return (struct memory){ptr_of(addr_of(mount->arena) + own), mount->size - own};
}

static bool may_create(const struct mount *mount) {
    const struct shield_files *entry = mount->entry;
    return entry->kind == FILES_MEMORY || (entry->flags & FILES_CREATE && !entry->generation);
}

static long open_first(struct mount *mount) {
    struct arena *arena = mount->arena;
    struct volume_io io = container_io(mount);
    struct memory memory = engine_memory(mount);
    bool encrypted = mount->entry->kind != FILES_AUTHENTICATED;
    if (may_create(mount) && container_is_empty(mount))
        return volume_create(&arena->volume, &io, mount->key, encrypted, (u32)SYS0(__NR_geteuid), (u32)SYS0(__NR_getegid), memory.at,
                             memory.size);
    struct volume *volume = NULL;
    struct volume_root root;
    long error = volume_open(&volume, &io, mount->key, NULL, memory.at, memory.size);
    if (error) return error;
    volume_root(volume, &root);
    arena->older = !is_recent(mount, volume, &root);
    if (arena->older) return -EBADMSG;
    arena->volume = volume;
    return 0;
}

static long open_later(struct mount *mount, const struct guard_root *kept) {
    struct volume_io io = container_io(mount);
    struct memory memory = engine_memory(mount);
    struct volume_root root = from_guard(kept);
    return volume_open(&mount->arena->volume, &io, mount->key, &root, memory.at, memory.size);
}

/* What earlier trees and families left without a name: at the first change, if nobody else is there who may have it open; in a new tree
 * now, for nobody has anything open yet. */
static long begin_tidy(struct mount *mount, bool first) {
    struct arena *arena = mount->arena;
    arena->untidy = !arena->shared && !arena->read_only;
    return first && arena->shared && !arena->read_only ? volume_forget_nameless(arena->volume) : 0;
}

/* The container is locked, so that no other family does the same. */
static long open_locked(struct mount *mount) {
    struct arena *arena = mount->arena;
    struct guard_root kept, fresh;
    u64 families;
    long error = guard_root(mount_slot(mount), 0, &kept, &families);
    if (failed(error)) return error == -EBUSY ? error : -EIO;
    bool first = !kept.generation;
    error = first ? open_first(mount) : open_later(mount, &kept);
    if (error) return error;
    if (volume_is_encrypted(arena->volume) != (mount->entry->kind != FILES_AUTHENTICATED)) return -EINVAL;
    note_root(mount);
    if (!arena->read_only) error = mount_take_over(mount, first);
    if (error) return error;
    fresh = to_guard(state_root(mount));
    if (first && failed(guard_swap(mount_slot(mount), 0, 0, &fresh, &kept, &families))) return -EIO;
    arena->shared = families != 1 || !mounts_settled;
    error = begin_tidy(mount, first);
    if (error) return error;
    arena->committed_at = container_second(mount);
    return 0;
}

static long lock_and_open(struct mount *mount) {
    struct lease_wait wait = {0};
    long error;
    do {
        error = container_lock(mount, true);
        if (!error) error = open_locked(mount);
        container_unlock(mount);
    } while (error == -EBUSY && lease_await(mount, &wait));
    return error;
}

/* What cannot be opened cannot be opened later, but where only the broker did not answer: then the next call asks again. */
static void note_failure(struct mount *mount, long error) {
    struct arena *arena = mount->arena;
    arena->volume = NULL;
    if (error != -EREMOTEIO) arena->error = error;
    if (arena->error || !arena->tried) mount_say(mount->entry, error, arena->older);
    arena->tried = true;
}

static long open_volume(struct mount *mount, bool broken) {
    struct arena *arena = mount->arena;
    struct memory memory = engine_memory(mount);
    if (broken || arena->tried) secret_wipe(addr_of(memory.at), memory.size, state.residency);
    arena->broken = true;
    long error = lock_and_open(mount);
    if (error == -EBUSY) return -EIO; /* another family may give its lease back later */
    if (error) note_failure(mount, error);
    arena->broken = false;
    return error;
}

/* The newest that was committed by this family or given out by any. */
static long make_whole(struct mount *mount) {
    struct guard_root kept;
    u64 families;
    if (failed(lease_root(mount, &kept, &families))) return -EIO;
    struct volume_root root = from_guard(&kept);
    if (state_root(mount)->generation > root.generation) root = *state_root(mount);
    return lose(mount, &root);
}

long state_ready(struct mount *mount, bool broken) {
    struct arena *arena = mount->arena;
    if (arena->error) return arena->error;
    return !arena->volume ? open_volume(mount, broken) : broken ? make_whole(mount) : 0;
}

/* ---- with others */

/* Locks the container and asks what the newest state is; for the lease too, if it is worth it. */
static long lock_and_ask(struct mount *mount, bool changes, struct guard_root *kept, u64 *families) {
    struct arena *arena = mount->arena;
    struct lease_wait wait = {0};
    bool wanted = arena->calm >= CALM;
    for (;;) {
        long error = container_lock(mount, changes || wanted);
        if (error) return error;
        mount->entered_shared = true;
        if (wanted) error = guard_lease(mount_slot(mount), &arena->lease, kept, families);
        else error = guard_root(mount_slot(mount), 0, kept, families);
        if (error != -EBUSY) return failed(error) ? -EIO : 0;
        container_unlock(mount);
        if (!lease_await(mount, &wait)) return -EIO;
        wanted = false;
    }
}

long state_refresh(struct mount *mount, bool changes) {
    struct arena *arena = mount->arena;
    struct guard_root kept;
    u64 families;
    long error = lock_and_ask(mount, changes, &kept, &families);
    if (error) return error;
    struct volume_root root = from_guard(&kept);
    bool news = !is_same(&root, state_root(mount));
    arena->calm = news || arena->calm >= CALM ? 0 : arena->calm + 1;
    if (news) {
        arena->broken = true;
        error = volume_reload(arena->volume, &root, false);
        if (error) return error;
        note_root(mount);
        arena->broken = false;
    }
    note_families(mount, families);
    return 0;
}

/* The root that is there now is the truth. */
static long take_answer(struct mount *mount, long error, const struct guard_root *kept) {
    if (!error) {
        note_root(mount);
        return 0;
    }
    struct volume_root root = from_guard(kept);
    if (error == -EAGAIN) (void)!lose(mount, &root);
    return -EIO;
}

static long swap(struct mount *mount, u64 before) {
    struct arena *arena = mount->arena;
    struct volume_root mine;
    struct guard_root kept, fresh;
    u64 families;
    volume_root(arena->volume, &mine);
    fresh = to_guard(&mine);
    long error = guard_swap(mount_slot(mount), arena->lease, before, &fresh, &kept, &families);
    if (!error && arena->lease) note_families(mount, families); /* it does not ask otherwise */
    return take_answer(mount, error, &kept);
}

static long publish(struct arena *arena) {
    long error = volume_publish(arena->volume);
    return error ? error : container_flush(arena);
}

long state_share(struct mount *mount) {
    struct arena *arena = mount->arena;
    struct volume_root mine;
    struct guard_root kept;
    u64 families;
    long error = volume_is_changed(arena->volume) ? publish(arena) : 0;
    if (error) return error;
    if (failed(guard_root(mount_slot(mount), 0, &kept, &families))) return -EIO;
    volume_root(arena->volume, &mine);
    struct volume_root known = from_guard(&kept);
    if (!is_same(&mine, &known)) error = swap(mount, kept.generation);
    if (!error) arena->shared = true;
    return error;
}

/* If it cannot be published it is lost, and who syncs hears of that. */
long state_return(struct mount *mount) {
    struct arena *arena = mount->arena;
    struct volume_root before = *state_root(mount), mine;
    struct guard_root kept, fresh = {0};
    u64 families;
    if (!arena->lease) return guard_return(mount_slot(mount), 0, 0, &fresh, &kept, &families); /* all is told already */
    if (volume_is_changed(arena->volume) && publish(arena)) (void)!lose(mount, &before);
    volume_root(arena->volume, &mine);
    fresh = to_guard(&mine);
    long error = guard_return(mount_slot(mount), arena->lease, before.generation, &fresh, &kept, &families);
    arena->lease = arena->calm = 0;
    return take_answer(mount, error, &kept);
}

/* Nobody was promised anything: that the broker did not hear of it is no failure of a write. */
long state_commit_unasked(struct mount *mount) {
    long error = state_commit(mount);
    return error == -EREMOTEIO ? 0 : error;
}

static bool is_time(struct mount *mount) { return container_second(mount) >= mount->arena->committed_at + SECONDS_UNTIL_COMMIT; }

long state_give_out(struct mount *mount) {
    struct arena *arena = mount->arena;
    if (!volume_is_changed(arena->volume)) return 0;
    struct volume_root before = *state_root(mount);
    bool durable = is_time(mount);
    if (!is_among_others(arena)) return durable ? state_commit_unasked(mount) : 0;
    long error = durable ? volume_commit(arena->volume) : publish(arena);
    if (error) {
        (void)!lose(mount, &before);
        return error;
    }
    if (durable) arena->committed_at = container_second(mount);
    return swap(mount, before.generation);
}

long state_commit(struct mount *mount) {
    struct arena *arena = mount->arena;
    struct volume_root before = *state_root(mount), after;
    long error = volume_commit(arena->volume);
    if (error) return error;
    volume_root(arena->volume, &after);
    if (!is_same(&before, &after)) error = arena->shared || arena->lease ? swap(mount, before.generation) : 0;
    if (error) return error;
    note_root(mount);
    arena->committed_at = container_second(mount);
    return mount_report_root(mount, state_root(mount));
}
