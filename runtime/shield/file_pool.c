#include "file_pool.h"

#include <linux/mman.h>

#include "secret.h"

#define POOL (64UL << 20)
enum { CHUNKS = POOL / CHUNK };

/* Shared by the family, under the volume's lock. */
struct chunk {
    u64 inode, index;
    u32 users, unused; /* users 0: free */
    u64 known[CHUNK / BLOCK]; /* fingerprints of the blocks as the volume had them; 0: the mapping's is the newer one */
};

struct pool {
    u32 used; /* how many chunks have users */
    u32 highest; /* one behind the last that ever had */
    u64 point; /* of the fingerprints: drawn, so that nobody can make two blocks that have the same */
    struct chunk chunk[CHUNKS];
};

static struct {
    struct pool *pool;
    u64 data;
} pools[POLICY_FILES_MOST] BEHIND;

static u8 scratch[BLOCK] BEHIND;
static const u64 prime = (1UL << 61) - 1;

/* A polynomial at a point that is drawn: of two blocks that differ, alike with a chance of 2^-51. Never 0. */
static u64 fingerprint(const struct pool *pool, const u8 *block) {
    u64 sum = 1;
    for (size_t i = 0; i < BLOCK; i += sizeof(u32)) {
        u32 word;
        memcpy(&word, block + i, sizeof word);
        unsigned __int128 product = (unsigned __int128)sum * pool->point + word;
        sum = ((u64)product & prime) + (u64)(product >> 61);
        sum = sum >= prime ? sum - prime : sum;
    }
    return sum + 1;
}

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
        while (!pools[i].pool->point && SYS3(__NR_getrandom, &pools[i].pool->point, sizeof(u64), 0) == sizeof(u64)) pools[i].pool->point %= prime;
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

static void note(struct pool *pool, u32 region, u32 number) {
    for (u32 i = 0; i < CHUNK / BLOCK; i++) pool->chunk[number].known[i] = fingerprint(pool, data_of(region, number) + i * BLOCK);
}

long file_pool_take(const struct location *location, u64 index) {
    struct pool *pool = pools[location->region->index].pool;
    long found = file_pool_find(location->region->index, location->inode, index);
    for (u32 i = 0; found < 0 && i < CHUNKS; i++) {
        if (pool->chunk[i].users) continue;
        long error = load(location, i, index);
        if (failed(error)) return error;
        pool->chunk[i] = (struct chunk){.inode = location->inode, .index = index};
        note(pool, location->region->index, i);
        if (i >= pool->highest) pool->highest = i + 1;
        pool->used++;
        found = i;
    }
    if (found < 0) return -ENOMEM;
    pool->chunk[found].users++;
    return found;
}

/* One block of a mapping and of the volume become the same. What the mapping changed is written; else what another family wrote is taken. */
static long settle(const struct location *location, u32 number, u64 at, u64 size, bool writes) {
    u32 region = location->region->index;
    struct pool *pool = pools[region].pool;
    struct chunk *chunk = &pool->chunk[number];
    u8 *data = data_of(region, number) + at;
    u64 now = fingerprint(pool, data), start = chunk->index * CHUNK + at;
    long n = volume_read(location->volume, chunk->inode, start, scratch, size);
    if (n != (long)size) return failed(n) ? n : 0;
    bool changed = now != chunk->known[at / BLOCK], differs = memcmp(scratch, data, size);
    if (changed && !writes) return 0;
    if (differs && changed) n = volume_write(location->volume, chunk->inode, start, data, size);
    else if (differs) memcpy(data, scratch, size);
    if (!failed(n)) chunk->known[at / BLOCK] = fingerprint(pool, data);
    return failed(n) ? n : 0;
}

/* The blocks that have something of [from, end), as far as the file reaches. */
static long settle_all(const struct location *location, u32 number, u64 from, u64 end, bool writes) {
    const struct chunk *chunk = &pools[location->region->index].pool->chunk[number];
    struct inode status;
    long error = volume_status(location->volume, chunk->inode, &status);
    u64 start = chunk->index * CHUNK;
    for (u64 at = from / BLOCK * BLOCK; !failed(error) && at < end && start + at < status.size; at += BLOCK)
        error = settle(location, number, at, min_u64(BLOCK, status.size - start - at), writes);
    return failed(error) ? error : 0;
}

static long store(const struct location *location, u32 number) { return settle_all(location, number, 0, CHUNK, true); }

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
        u64 at = (offset + done) % CHUNK;
        long error = chunk >= 0 ? settle_all(location, (u32)chunk, at, at + piece, false) : 0;
        if (failed(error)) return done ? (long)done : error;
        if (chunk >= 0) memcpy(to + done, data_of(region, (u32)chunk) + at, piece);
        long n = chunk >= 0 ? (long)piece : volume_read(location->volume, location->inode, offset + done, to + done, piece);
        if (n != (long)piece) return done ? (long)done : n;
    }
    return (long)size;
}

/* What write(2) has given to the volume already. A block that only it has changed remains as known. */
static void put(u32 region, u32 number, u64 at, const u8 *from, u64 size) {
    struct pool *pool = pools[region].pool;
    u8 *data = data_of(region, number);
    for (u64 piece; size; at += piece, from += piece, size -= piece) {
        u64 block = at / BLOCK;
        bool known = pool->chunk[number].known[block] == fingerprint(pool, data + block * BLOCK);
        piece = min_u64(BLOCK - at % BLOCK, size);
        memcpy(data + at, from, piece);
        if (known) pool->chunk[number].known[block] = fingerprint(pool, data + block * BLOCK);
    }
}

long file_pool_write(const struct location *location, u64 offset, const u8 *from, u64 size) {
    u32 region = location->region->index;
    long n = volume_write(location->volume, location->inode, offset, from, size);
    if (n <= 0 || !file_pool_is_used(region)) return n;
    for (u64 done = 0, piece; done < (u64)n; done += piece) {
        piece = piece_at(offset + done, (u64)n - done);
        long chunk = file_pool_find(region, location->inode, (offset + done) / CHUNK);
        if (chunk >= 0) put(region, (u32)chunk, (offset + done) % CHUNK, from + done, piece);
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
        for (u64 block = from / BLOCK; block < CHUNK / BLOCK; block++) pools[region].pool->chunk[i].known[block] = 0;
    }
}

bool file_pool_is_there(u32 region) { return pools[region].pool; }
u64 file_pool_address(u32 region, u32 number) { return pools[region].data + number * CHUNK; }
void file_pool_share(u32 region, u32 number) { pools[region].pool->chunk[number].users++; }
