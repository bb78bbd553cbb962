/* Memory that forked children share: mapped outside the model of areas, so that fork(2) does not copy it. In chunks of equal pieces; which
 * are taken stands in the chunk, so that all who share it agree. */
#include <linux/mman.h>

#include "socket.h"
#include "bytes.h"

enum { CHUNK = 1 << 20, CHUNKS_MOST = 2048, MAP_WORDS = 64 /* 4096 pieces */ };

enum piece { BLOCKS, CONNECTIONS, KINDS };
static const u32 piece_size[KINDS] = {SOCKET_BLOCK, (sizeof(struct connection) + 63) & ~63U};

struct chunk {
    u64 taken[MAP_WORDS];
};

static struct {
    struct chunk *chunk;
    u32 kind;
} chunks[CHUNKS_MOST] BEHIND; /* of this process: forked children go on with those that were there */
static u32 chunk_count;

static u32 pieces_of(u32 kind) { return (u32)min_u64((CHUNK - PAGE) / piece_size[kind], 64 * MAP_WORDS); }
static u8 *piece_at(const struct chunk *chunk, u32 kind, u32 number) { return ptr_of(addr_of(chunk) + PAGE + (u64)number * piece_size[kind]); }

static u8 *take_from(struct chunk *chunk, u32 kind) {
    const u32 count = pieces_of(kind);
    for (u32 word = 0; word * 64 < count; word++) {
        u64 taken = __atomic_load_n(&chunk->taken[word], __ATOMIC_RELAXED);
        while (~taken) {
            const u32 bit = (u32)__builtin_ctzll(~taken);
            if (word * 64 + bit >= count) break;
            if (__atomic_compare_exchange_n(&chunk->taken[word], &taken, taken | 1UL << bit, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
                return piece_at(chunk, kind, word * 64 + bit);
        }
    }
    return NULL;
}

static bool add_chunk(u32 kind) {
    struct lock_guard lock;
    const bool taken = socket_lock_state(&lock);
    const long at = chunk_count < CHUNKS_MOST ? secret_map(0, CHUNK, PROT_READ | PROT_WRITE, 0) : -ENOMEM;
    if (!failed(at)) {
        chunks[chunk_count].chunk = ptr_of((u64)at);
        chunks[chunk_count].kind = kind;
        __atomic_store_n(&chunk_count, chunk_count + 1, __ATOMIC_RELEASE);
    }
    socket_unlock_state(&lock, taken);
    return !failed(at);
}

/* Whoever executes another program cannot give back what it leaves: it might fail. */
static bool collect(void) {
    bool found = false;
    const u32 count = pieces_of(CONNECTIONS);
    for (u32 i = 0; i < chunk_count; i++) {
        for (u32 number = 0; chunks[i].kind == CONNECTIONS && number < count; number++) {
            struct connection *c = (struct connection *)(void *)piece_at(chunks[i].chunk, CONNECTIONS, number);
            if (!(chunks[i].chunk->taken[number / 64] >> number % 64 & 1) || !socket_was_left(c)) continue;
            socket_connection_drop(c);
            found = true;
        }
    }
    return found;
}

static u8 *take(u32 kind) {
    for (;;) {
        const u32 count = __atomic_load_n(&chunk_count, __ATOMIC_ACQUIRE);
        for (u32 i = 0; i < count; i++) {
            u8 *piece = chunks[i].kind == kind ? take_from(chunks[i].chunk, kind) : NULL;
            if (piece) return piece;
        }
        if (!collect() && !add_chunk(kind)) return NULL;
    }
}

static void give(u8 *piece, u32 kind) {
    const u32 count = __atomic_load_n(&chunk_count, __ATOMIC_ACQUIRE);
    for (u32 i = 0; i < count; i++) {
        const u64 offset = addr_of(piece) - addr_of(chunks[i].chunk);
        if (offset >= CHUNK) continue;
        const u32 number = (u32)((offset - PAGE) / piece_size[kind]);
        __atomic_and_fetch(&chunks[i].chunk->taken[number / 64], ~(1UL << number % 64), __ATOMIC_RELEASE);
        return;
    }
}

u8 *socket_block(void) { return take(BLOCKS); }

void socket_block_drop(u8 *block) {
    if (block) give(block, BLOCKS);
}

struct connection *socket_connection(void) {
    struct connection *c = (struct connection *)(void *)take(CONNECTIONS);
    if (c) memset(c, 0, sizeof *c);
    return c;
}

void socket_connection_drop(struct connection *c) {
    c->made = false;
    if (c->handshake) wipe(c->handshake, sizeof *c->handshake);
    socket_block_drop((u8 *)c->handshake);
    socket_block_drop(c->partial);
    socket_block_drop(c->plain);
    socket_block_drop(c->waiting);
    socket_block_drop(c->early);
    wipe(c, sizeof *c);
    give((u8 *)c, CONNECTIONS);
}
