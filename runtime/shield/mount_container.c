/* The file that holds a volume. Nothing that it says is believed by whoever reads it (volume.h). The kernel writes to the arena only: in
 * a deferred child it could not write anywhere else (deferral.h). */
#include <asm/stat.h>
#include <linux/fcntl.h>
#include <linux/memfd.h>

#include "mount_arena.h"
#include "reserved.h"
#include "state.h"

enum {
    OWNER_ONLY = 0600, LOCK_SHARED = 1, LOCK_EXCLUSIVE = 2, LOCK_AT_ONCE = 4, COARSE = 6 /* CLOCK_MONOTONIC_COARSE */,
    START_WRITING = 2 /* SYNC_FILE_RANGE_WRITE */, START_AFTER = 2048,
};

static struct mount *mount_of(void *context) {
    for (u32 i = 0; i < MOUNTS_MOST; i++)
        if (mounts_of_process[i].arena == context) return &mounts_of_process[i];
    return NULL;
}

/* Much is written: the disk works while the engine goes on, so that the next sync has less to wait for. The kernel would begin later, and
 * what is here is made durable within seconds anyway. */
static void start_disk(struct arena *arena, u64 written) {
    const struct mount *mount = mount_of(arena);
    arena->not_started += written;
    if (arena->not_started < START_AFTER || mount->entry->kind == FILES_MEMORY) return;
    arena->not_started = 0;
    SYS4(__NR_sync_file_range, mount->container, 0, 0, START_WRITING);
}

/* Blocks that follow one another go to the kernel together. They stand in the arena, ciphertext as they are, until they are written: if
 * that fails (the disk is full) they stay, and whoever writes next tries again, for the engine believes that they are written. */
static long write_run(struct arena *arena) {
    struct run *run = &arena->run;
    u64 size = run->count * BLOCK;
    for (u64 done = 0; done < size;) {
        long n = SYS4(__NR_pwrite64, mount_of(arena)->container, addr_of(run->blocks) + done, size - done, run->first * BLOCK + done);
        if (n <= 0) return failed(n) ? n : -ENOSPC;
        done += (u64)n;
    }
    start_disk(arena, run->count);
    run->count = 0;
    return 0;
}

long container_flush(struct arena *arena) { return arena->run.count ? write_run(arena) : 0; }
void container_forget(struct arena *arena) { arena->run.count = 0; }

static long read_block(void *context, u64 block, u8 *to) {
    const struct run *run = &((struct arena *)context)->run;
    if (block >= run->first && block < run->first + run->count) {
        memcpy(to, run->blocks[block - run->first], BLOCK);
        return 0;
    }
    long n = SYS4(__NR_pread64, mount_of(context)->container, to, BLOCK, block * BLOCK);
    return n == BLOCK ? 0 : failed(n) ? n : -EBADMSG;
}

/* At once, or not at all: written later, it would lead to blocks that have changed meanwhile. */
static long write_superblock(struct arena *arena, u64 block, const u8 *from) {
    long n = SYS4(__NR_pwrite64, mount_of(arena)->container, from, BLOCK, block * BLOCK);
    return n == BLOCK ? 0 : failed(n) ? n : -ENOSPC;
}

static long write_block(void *context, u64 block, const u8 *from) {
    struct arena *arena = context;
    struct run *run = &arena->run;
    bool goes_on = run->count && run->count < RUN_MOST && block == run->first + run->count;
    long error = goes_on ? 0 : container_flush(arena);
    if (failed(error)) return error;
    if (block < SUPERBLOCKS) return write_superblock(arena, block, from);
    if (!run->count) run->first = block;
    memcpy(run->blocks[run->count], from, BLOCK);
    run->count++;
    return 0;
}

/* What a file system cannot do it may do when it is written to. */
static long reserve(void *context, u64 block, u64 count) {
    long error = SYS4(__NR_fallocate, mount_of(context)->container, 0, block * BLOCK, count * BLOCK);
    return error == -ENOSPC || error == -EDQUOT || error == -EFBIG ? error : 0;
}

/* The engine is between two changes, the lock is held. */
static long relieve(void *context) { return state_commit_unasked(mount_of(context)); }

static long make_durable(void *context) {
    const struct mount *mount = mount_of(context);
    long error = container_flush(context);
    if (failed(error)) return error;
    ((struct arena *)context)->not_started = 0;
    return mount->entry->kind == FILES_MEMORY ? 0 : SYS1(__NR_fdatasync, mount->container);
}

/* `to` is the engine's, in the arena. */
static void draw(void *context, u8 *to, size_t size) {
    (void)context;
    for (size_t done = 0; done < size;) {
        long n = SYS3(__NR_getrandom, to + done, size - done, 0);
        if (n > 0) done += (size_t)n;
    }
}

static u64 now(void *context) {
    struct arena *arena = context;
    SYS2(__NR_clock_gettime, 0 /* CLOCK_REALTIME */, arena->moment);
    return arena->moment[0] * 1000000000UL + arena->moment[1];
}

struct volume_io container_io(struct mount *mount) {
    return (struct volume_io){mount->arena, read_block, write_block, make_durable, reserve, relieve, draw, now};
}

u64 container_second(struct mount *mount) {
    SYS2(__NR_clock_gettime, COARSE, mount->arena->moment);
    return mount->arena->moment[0];
}

/* In a region of memory: ciphertext, of a key that only this tree has. */
static long open_memory(struct mount *mount) {
    draw(NULL, mount->key, sizeof mount->key);
    return SYS2(__NR_memfd_create, "cloister-volume", MFD_CLOEXEC);
}

static long open_file(struct mount *mount) {
    const struct shield_files *entry = mount->entry;
    char path[PATH_SIZE];
    int flags = entry->flags & FILES_READ_ONLY ? READ_ONLY : O_RDWR | (entry->flags & FILES_CREATE ? CREATE : 0);
    memcpy(path, entry->container.bytes, entry->container.size);
    path[entry->container.size] = 0;
    memcpy(mount->key, entry->key, sizeof mount->key);
    return SYS3(__NR_open, path, flags | CLOSE_ON_EXEC, OWNER_ONLY);
}

/* The description is the tree's: all its processes have it, so the lock on it goes when the last of them does. */
long container_open(struct mount *mount) {
    bool memory = mount->entry->kind == FILES_MEMORY;
    long fd = reserved_keep(memory ? open_memory(mount) : open_file(mount));
    if (failed(fd)) return fd;
    mount->container = (int)fd;
    int lock = mount->entry->flags & FILES_READ_ONLY ? LOCK_SHARED : LOCK_EXCLUSIVE;
    long error = SYS2(__NR_flock, fd, lock | LOCK_AT_ONCE);
    return error == -EWOULDBLOCK ? -EBUSY : 0; /* a file system that knows no locks has none to be kept */
}

static bool is_zero(const u64 *block) {
    u64 any = 0;
    for (size_t i = 0; i < BLOCK / sizeof *block; i++) any |= block[i];
    return !any;
}

/* Or whoever made it was stopped before it had a superblock. The engine's memory is not in use yet. */
bool container_is_empty(struct mount *mount) {
    u64 *block = ptr_of(addr_of(mount->arena) + page_up(sizeof *mount->arena));
    bool empty = true;
    for (u32 number = 0; number < SUPERBLOCKS && empty; number++) {
        long n = SYS4(__NR_pread64, mount->container, block, BLOCK, number * BLOCK);
        if (failed(n)) return false;
        empty = is_zero(block);
        memset(block, 0, BLOCK);
    }
    return empty;
}

static long set_lock(const struct mount *mount, short type) {
    const struct flock whole = {.l_type = type};
    long error;
    while ((error = SYS3(__NR_fcntl, mount->container, F_SETLKW, &whole)) == -EINTR) continue;
    return error;
}

/* A process's own (fcntl(2)), not the description's, which all families have in common. A host that breaks it gains nothing: the guard
 * decides whose change is the next. */
long container_lock(struct mount *mount, bool writing) {
    if (mount->arena->read_only) return 0;
    long error = set_lock(mount, writing ? F_WRLCK : F_RDLCK);
    mount->written = writing && !failed(error);
    return failed(error) ? -EIO : 0;
}

void container_unlock(struct mount *mount) {
    if (!mount->arena->read_only) (void)!set_lock(mount, F_UNLCK);
    mount->written = false;
}
