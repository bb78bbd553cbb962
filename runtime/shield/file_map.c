#include "file_map.h"

#include <linux/fcntl.h>
#include <linux/mman.h>

#include "file_pool.h"
#include "table.h"

enum { MAPS_MOST = 128 };

/* This process's mappings. */
static struct map {
    u64 start, end, inode, offset;
    u32 region;
    bool read_only; /* the descriptor's mode: mprotect(2) gives no more */
} maps[MAPS_MOST] BEHIND;
static u32 maps_count;

static long place_chunk(u32 region, u32 number, u64 skip, u64 at, u64 length) {
    u64 from = file_pool_address(region, number) + skip;
    return SYS5(__NR_mremap, from, 0, length, MREMAP_MAYMOVE | MREMAP_FIXED, at);
}

/* Gives back what stands in [start, end) of a mapping. */
static void release(const struct location *location, const struct map *map, u64 start, u64 end) {
    u64 first = (map->offset + start - map->start) / CHUNK, last = (map->offset + end - map->start - 1) / CHUNK;
    for (u64 index = first; index <= last; index++) {
        long chunk = file_pool_find(map->region, map->inode, index);
        if (chunk >= 0) file_pool_give(location, (u32)chunk);
    }
}

static long fill_mapping(const struct location *location, const struct map *map) {
    u64 length = map->end - map->start;
    for (u64 done = 0, piece; done < length; done += piece) {
        u64 offset = map->offset + done;
        piece = min_u64(length - done, CHUNK - offset % CHUNK);
        long chunk = file_pool_take(location, offset / CHUNK);
        long error = failed(chunk) ? chunk : place_chunk(map->region, (u32)chunk, offset % CHUNK, map->start + done, piece);
        if (!failed(error)) continue;
        if (!failed(chunk)) file_pool_give(location, (u32)chunk);
        if (done) release(location, map, map->start, map->start + done);
        return error;
    }
    return 0;
}

static bool enter(struct location *location, const struct map *map) {
    const struct shielded entry = {.kind = SHIELD_FILE, .region = (u8)map->region, .object = map->inode};
    return !failed(location_enter_open(location, &entry, true));
}

long shield_map(u64 address, u64 length, int protection, int flags, int fd, u64 offset) {
    struct shielded entry;
    struct location location;
    long mappable = shield_mappable(fd, protection, true);
    if (mappable) return mappable;
    if (!table_get((u32)fd, &entry)) return -EBADF;
    if (!file_pool_is_there(entry.region) || maps_count == MAPS_MOST) return -ENOMEM;
    int place = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_32BIT);
    long at = SYS6(__NR_mmap, address, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | place, -1, 0);
    if (failed(at)) return at;
    struct map map = {(u64)at, (u64)at + length, entry.object, offset, entry.region, (entry.access & O_ACCMODE) == O_RDONLY};
    long error = location_enter_open(&location, &entry, true);
    if (!failed(error)) {
        error = fill_mapping(&location, &map);
        if (!failed(error)) mount_hold(location.mount, map.inode); /* it lives on without a name */
        error = location_leave(&location, error);
    }
    if (!failed(error) && protection != (PROT_READ | PROT_WRITE)) error = SYS3(__NR_mprotect, at, length, protection);
    if (failed(error)) {
        SYS2(__NR_munmap, at, length);
        return error;
    }
    maps[maps_count++] = map;
    return at;
}

/* Code cannot be secret: the kernel executes nothing of what the ledger stands for. */
long shield_mappable(int fd, int protection, bool shared) {
    struct shielded entry;
    if (!table_get((u32)fd, &entry) || entry.kind != SHIELD_FILE) return SHIELD_PASS;
    u64 mode = entry.access & O_ACCMODE;
    if (entry.access & O_PATH) return -EBADF;
    if (mode == O_WRONLY || protection & PROT_EXEC || (shared && protection & PROT_WRITE && mode == O_RDONLY)) return -EACCES;
    return entry.access & SHIELDED_DIRECTORY ? -ENODEV : 0;
}

long shield_fill(int fd, u64 at, u64 length, u64 offset) {
    struct shielded entry;
    struct location location;
    if (!table_get((u32)fd, &entry)) return -EBADF;
    long error = location_enter_open(&location, &entry, false);
    if (failed(error)) return error;
    if ((location.status.mode & TYPE_MASK) != REGULAR) return location_leave(&location, -ENODEV);
    return location_leave(&location, file_pool_read(&location, offset, ptr_of(at), length));
}

/* A mapping of which [start, end) goes: what is left of it are at most two. */
static void cut(u32 number, u64 start, u64 end) {
    struct map whole = maps[number];
    maps[number] = maps[--maps_count];
    struct map before = whole, behind = whole;
    before.end = start;
    behind.start = end;
    behind.offset += end - whole.start;
    if (before.start < before.end) maps[maps_count++] = before;
    if (behind.start < behind.end && maps_count < MAPS_MOST) maps[maps_count++] = behind;
}

/* Whether [start, end) of the mapping has something of that chunk. */
static bool has_of(const struct map *map, u64 start, u64 end, u64 index) {
    return start < end && (map->offset + start - map->start) / CHUNK <= index && index <= (map->offset + end - map->start - 1) / CHUNK;
}

/* [start, end) of a mapping goes: of what is left before and behind it, each is a user of the chunks that it has something of. */
static void count_users(const struct location *location, const struct map *map, u64 start, u64 end) {
    u64 first = (map->offset + start - map->start) / CHUNK, last = (map->offset + end - map->start - 1) / CHUNK;
    for (u64 index = first; index <= last; index++) {
        long chunk = file_pool_find(map->region, map->inode, index);
        u32 users = (u32)has_of(map, map->start, start, index) + (u32)has_of(map, end, map->end, index);
        if (chunk >= 0 && users == 0) file_pool_give(location, (u32)chunk);
        if (chunk >= 0 && users == 2) file_pool_share(map->region, (u32)chunk);
    }
}

void shield_unmapped(u64 start, u64 length) {
    u64 end = start + page_up(length);
    struct location location;
    for (u32 i = maps_count; i-- > 0;) {
        struct map map = maps[i];
        u64 from = max_u64(start, map.start), to = min_u64(end, map.end);
        if (from >= to) continue;
        if (enter(&location, &map)) {
            count_users(&location, &map, from, to);
            if (from > map.start && to < map.end) mount_hold(location.mount, map.inode);
            if (from == map.start && to == map.end) mount_drop(location.mount, map.inode);
            (void)!location_leave(&location, 0);
        }
        cut(i, from, to);
    }
}

static bool meets(const struct map *map, u64 start, u64 length) { return max_u64(start, map->start) < min_u64(start + page_up(length), map->end); }

bool shield_has_mapped(u64 start, u64 length) {
    for (u32 i = 0; i < maps_count; i++)
        if (meets(&maps[i], start, length)) return true;
    return false;
}

bool shield_is_read_only(u64 start, u64 length) {
    for (u32 i = 0; i < maps_count; i++)
        if (maps[i].read_only && meets(&maps[i], start, length)) return true;
    return false;
}

long shield_sync_mapped(u64 start, u64 length, bool durable) {
    struct location location;
    long first = 0;
    for (u32 i = 0; i < maps_count; i++) {
        if (max_u64(start, maps[i].start) >= min_u64(start + page_up(length), maps[i].end) || !enter(&location, &maps[i])) continue;
        long error = file_pool_store(&location, maps[i].inode);
        if (!failed(error) && durable) error = mount_sync(location.mount);
        error = location_leave(&location, error);
        if (!first) first = error;
    }
    return first;
}

/* A chunk has one user for each mapping of it. */
void file_map_forked(void) {
    struct location location;
    for (u32 i = 0; i < maps_count; i++) {
        if (!enter(&location, &maps[i])) continue;
        u64 first = maps[i].offset / CHUNK, last = (maps[i].offset + maps[i].end - maps[i].start - 1) / CHUNK;
        for (u64 index = first; index <= last; index++) {
            long chunk = file_pool_find(maps[i].region, maps[i].inode, index);
            if (chunk >= 0) file_pool_share(maps[i].region, (u32)chunk);
        }
        mount_hold(location.mount, maps[i].inode);
        (void)!location_leave(&location, 0);
    }
}
