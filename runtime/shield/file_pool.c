#include "file_pool.h"

#include <linux/mman.h>

#include "secret.h"

#define POOL (64UL << 20)
enum { CHUNKS = POOL / CHUNK };

/* Shared by the family, under the volume's lock. */
struct chunk {
    u64 inode, index;
    u32 users, unused; /* users 0: free */
};

struct pool {
    u32 used; /* how many chunks have users */
    u32 highest; /* one behind the last that ever had */
    struct chunk chunk[CHUNKS];
};

static struct {
    struct pool *pool;
    u64 data;
} pools[POLICY_FILES_MOST] BEHIND;

static u8 scratch[BLOCK] BEHIND;

/* Without memory for it there are no shared mappings of this region's files: mmap(2) says so. */
void file_pool_begin(void) {
    for (u32 i = 0; i < policy.files_count; i++) {
        const struct shield_files *region = &policy.files[i];
        if (region->kind == FILES_PLAIN) continue;
        u64 head = page_up(sizeof(struct pool));
        long at = secret_map(0, head + POOL, PROT_READ | PROT_WRITE, 0);
        if (failed(at)) continue;
        pools[i].pool = ptr_of((u64)at);
        pools[i].data = (u64)at + head;
    }
}

static u8 *data_of(u32 region, u32 number) { return ptr_of(pools[region].data + number * CHUNK); }

bool file_pool_is_used(u32 region) { return pools[region].pool && pools[region].pool->used; }

long file_pool_find(u32 region, u64 inode, u64 index) {
    const struct pool *pool = pools[region].pool;
    if (!file_pool_is_used(region)) return -1;
    for (u32 i = 0; i < pool->highest; i++)
        if (pool->chunk[i].users && pool->chunk[i].inode == inode && pool->chunk[i].index == index) return i;
    return -1;
}

static long load(const struct location *location, u32 number, u64 index) {
    u8 *data = data_of(location->region->index, number);
    long n = volume_read(location->volume, location->inode, index * CHUNK, data, CHUNK);
    if (failed(n)) return n;
    memset(data + n, 0, CHUNK - (u64)n);
    return 0;
}

long file_pool_take(const struct location *location, u64 index) {
    struct pool *pool = pools[location->region->index].pool;
    long found = file_pool_find(location->region->index, location->inode, index);
    for (u32 i = 0; found < 0 && i < CHUNKS; i++) {
        if (pool->chunk[i].users) continue;
        long error = load(location, i, index);
        if (failed(error)) return error;
        pool->chunk[i] = (struct chunk){.inode = location->inode, .index = index};
        if (i >= pool->highest) pool->highest = i + 1;
        pool->used++;
        found = i;
    }
    if (found < 0) return -ENOMEM;
    pool->chunk[found].users++;
    return found;
}

/* The chunk's blocks that differ from the volume's, as far as the file reaches. */
static long store(const struct location *location, u32 number) {
    u32 region = location->region->index;
    const struct chunk *chunk = &pools[region].pool->chunk[number];
    const u8 *data = data_of(region, number);
    struct inode status;
    long error = volume_status(location->volume, chunk->inode, &status);
    u64 start = chunk->index * CHUNK;
    for (u64 at = 0; !failed(error) && at < CHUNK && start + at < status.size; at += BLOCK) {
        u64 size = min_u64(BLOCK, status.size - start - at);
        error = volume_read(location->volume, chunk->inode, start + at, scratch, size);
        if (error == (long)size && memcmp(scratch, data + at, size)) error = volume_write(location->volume, chunk->inode, start + at, data + at, size);
    }
    return failed(error) ? error : 0;
}

long file_pool_store(const struct location *location, u64 inode) {
    u32 region = location->region->index;
    long first = 0;
    if (!file_pool_is_used(region)) return 0;
    for (u32 i = 0; i < pools[region].pool->highest; i++) {
        const struct chunk *chunk = &pools[region].pool->chunk[i];
        long error = chunk->users && (!inode || chunk->inode == inode) ? store(location, i) : 0;
        if (!first) first = error;
    }
    return first;
}

/* A file that is gone by now needs it no more. */
void file_pool_give(const struct location *location, u32 number) {
    struct pool *pool = pools[location->region->index].pool;
    if (pool->chunk[number].users == 1) {
        (void)!store(location, number);
        pool->used--;
    }
    pool->chunk[number].users--;
}

/* Each piece of [offset, offset + size) that stands in one chunk. */
static u64 piece_at(u64 offset, u64 size) { return min_u64(size, CHUNK - offset % CHUNK); }

long file_pool_read(const struct location *location, u64 offset, u8 *to, u64 size) {
    u32 region = location->region->index;
    if (!file_pool_is_used(region)) return volume_read(location->volume, location->inode, offset, to, size);
    if (offset >= location->status.size) return 0;
    size = min_u64(size, location->status.size - offset);
    for (u64 done = 0, piece; done < size; done += piece) {
        piece = piece_at(offset + done, size - done);
        long chunk = file_pool_find(region, location->inode, (offset + done) / CHUNK);
        if (chunk >= 0) memcpy(to + done, data_of(region, (u32)chunk) + (offset + done) % CHUNK, piece);
        long n = chunk >= 0 ? (long)piece : volume_read(location->volume, location->inode, offset + done, to + done, piece);
        if (n != (long)piece) return done ? (long)done : n;
    }
    return (long)size;
}

long file_pool_write(const struct location *location, u64 offset, const u8 *from, u64 size) {
    u32 region = location->region->index;
    long n = volume_write(location->volume, location->inode, offset, from, size);
    if (n <= 0 || !file_pool_is_used(region)) return n;
    for (u64 done = 0, piece; done < (u64)n; done += piece) {
        piece = piece_at(offset + done, (u64)n - done);
        long chunk = file_pool_find(region, location->inode, (offset + done) / CHUNK);
        if (chunk >= 0) memcpy(data_of(region, (u32)chunk) + (offset + done) % CHUNK, from + done, piece);
    }
    return n;
}

void file_pool_cut(const struct location *location, u64 size) {
    u32 region = location->region->index;
    if (!file_pool_is_used(region)) return;
    for (u32 i = 0; i < pools[region].pool->highest; i++) {
        const struct chunk *chunk = &pools[region].pool->chunk[i];
        if (!chunk->users || chunk->inode != location->inode || (chunk->index + 1) * CHUNK <= size) continue;
        u64 from = size > chunk->index * CHUNK ? size - chunk->index * CHUNK : 0;
        memset(data_of(region, i) + from, 0, CHUNK - from);
    }
}

bool file_pool_is_there(u32 region) { return pools[region].pool; }
u64 file_pool_address(u32 region, u32 number) { return pools[region].data + number * CHUNK; }
void file_pool_share(u32 region, u32 number) { pools[region].pool->chunk[number].users++; }
