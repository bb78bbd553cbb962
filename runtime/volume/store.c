#include "store.h"

static bool has(const u64 *bits, u64 at) { return bits[at / 64] >> (at % 64) & 1; }
static void set(u64 *bits, u64 at) { bits[at / 64] |= 1UL << (at % 64); }
static void clear(u64 *bits, u64 at) { bits[at / 64] &= ~(1UL << (at % 64)); }

/* The compiler would call its library for it. */
static u64 count(u64 bits) {
    u64 found = 0;
    for (; bits; bits &= bits - 1) found++;
    return found;
}

typedef u64 __attribute__((may_alias, aligned(1))) loose_word;

static bool is_zero(const u8 *block) {
    const loose_word *words = (const loose_word *)block;
    for (size_t i = 0; i < BLOCK / sizeof *words; i++)
        if (words[i]) return false;
    return true;
}

/* Next fit, for what was written together shall stand together; the volume grows when nothing in it is free. 0 if it may not. */
static u64 find_free(struct volume *volume) {
    u64 blocks = volume->superblock.blocks, words = (blocks + 63) / 64;
    if (!volume->spare) return blocks < volume->block_limit ? blocks : 0;
    for (u64 i = 0;; i++) {
        u64 word = (volume->next_free / 64 + i) % words, used = volume->live[word] | volume->kept[word];
        if (word == words - 1 && blocks % 64) used |= ~0UL << (blocks % 64);
        if (used == ~0UL) continue;
        volume->next_free = word * 64 + (u64)__builtin_ctzl(~used);
        return volume->next_free;
    }
}

static void store_grow(struct volume *volume) {
    volume->superblock.blocks++;
    if (volume->blocks_known < volume->superblock.blocks) volume->blocks_known = volume->superblock.blocks;
}

long store_load(struct volume *volume, const struct pointer *pointer, struct place place, u8 *to) {
    if (!pointer->physical) {
        memset(to, 0, BLOCK);
        return 0;
    }
    if (pointer->physical < SUPERBLOCKS || pointer->physical >= volume->superblock.blocks) return -EBADMSG;
    long error = volume->io.read(volume->io.context, pointer->physical, to);
    if (error < 0) return error;
    bool right;
    if (volume->superblock.mode == MODE_AUTHENTICATED) {
        u8 nothing = 0;
        memcpy(volume->scratch, &place, sizeof place);
        memcpy(volume->scratch + sizeof place, to, BLOCK);
        right = gcm_open(&volume->gcm, pointer->nonce, volume->scratch, sizeof volume->scratch, &nothing, 0, &nothing, pointer->tag);
    } else right = gcm_open(&volume->gcm, pointer->nonce, (const u8 *)&place, sizeof place, to, BLOCK, to, pointer->tag);
    return right ? 0 : -EBADMSG;
}

static void next_nonce(struct volume *volume, u8 nonce[GCM_NONCE]) {
    if (volume->nonce_count >> 32 || !volume->nonce_count) {
        volume->io.random(volume->io.context, volume->nonce_prefix, sizeof volume->nonce_prefix);
        volume->nonce_count = 1;
    }
    u32 count = (u32)volume->nonce_count++;
    memcpy(nonce, volume->nonce_prefix, 8);
    memcpy(nonce + 8, &count, 4);
}

/* What is to be written; stands in the scratch. */
static const u8 *seal(struct volume *volume, struct pointer *pointer, struct place place, const u8 *from) {
    u8 *scratch = volume->scratch;
    next_nonce(volume, pointer->nonce);
    if (volume->superblock.mode == MODE_AUTHENTICATED) {
        memcpy(scratch, &place, sizeof place);
        memcpy(scratch + sizeof place, from, BLOCK);
        gcm_seal(&volume->gcm, pointer->nonce, scratch, sizeof volume->scratch, from, 0, scratch, pointer->tag);
        return scratch + sizeof place;
    }
    gcm_seal(&volume->gcm, pointer->nonce, (const u8 *)&place, sizeof place, from, BLOCK, scratch, pointer->tag);
    return scratch;
}

long store_save(struct volume *volume, struct pointer *pointer, struct place place, const u8 *from) {
    if (is_zero(from)) {
        store_free(volume, pointer);
        *pointer = (struct pointer){0};
        return 0;
    }
    struct pointer fresh = *pointer;
    if (!fresh.physical || has(volume->kept, fresh.physical)) {
        u64 found = find_free(volume);
        if (!found) return -ENOSPC;
        fresh.physical = (u32)found;
    }
    const u8 *sealed = seal(volume, &fresh, place, from);
    long error = volume->io.write(volume->io.context, fresh.physical, sealed);
    if (error < 0) return error;
    if (fresh.physical != pointer->physical) {
        store_free(volume, pointer);
        if (fresh.physical < volume->superblock.blocks) volume->spare--;
        else store_grow(volume);
        set(volume->live, fresh.physical);
    }
    *pointer = fresh;
    return 0;
}

void store_free(struct volume *volume, const struct pointer *pointer) {
    if (!pointer->physical) return;
    clear(volume->live, pointer->physical);
    if (!has(volume->kept, pointer->physical)) volume->spare++;
}

/* What removes something writes nodes and directories anew before the old ones are free. The file grows in steps, which keeps what is
 * written together together, and by less where there is not so much room. */
enum { KEPT_FOR_REMOVING = 128, STEP = 64, MOST_AT_ONCE = 4096 };

static long grow(struct volume *volume, u64 wanted) {
    u64 all = volume->superblock.blocks, step = all / STEP;
    u64 least = wanted - volume->spare, more = least + STEP + (step < MOST_AT_ONCE ? step : MOST_AT_ONCE);
    if (all + more > volume->block_limit) more = least;
    if (all + more > volume->block_limit) return -ENOSPC;
    long error = volume->io.reserve(volume->io.context, all, more);
    if (error && more > least) error = volume->io.reserve(volume->io.context, all, more = least);
    if (error) return error;
    volume->superblock.blocks += more;
    volume->spare += more;
    if (volume->blocks_known < volume->superblock.blocks) volume->blocks_known = volume->superblock.blocks;
    return 0;
}

/* How much a commit would give back. */
static u64 held_by_others(const struct volume *volume) {
    u64 words = (volume->superblock.blocks + 63) / 64, held = 0;
    for (u64 i = 0; i < words; i++) held += count(volume->kept[i] & ~volume->live[i]);
    return held;
}

long store_reserve(struct volume *volume, u64 blocks) {
    u64 wanted = blocks + volume->dirty_count + KEPT_FOR_REMOVING;
    if (!volume->io.reserve || volume->spare >= wanted) return 0;
    long error = grow(volume, wanted);
    if (error != -ENOSPC || !volume->io.relieve || volume->spare + held_by_others(volume) < wanted) return error;
    error = volume->io.relieve(volume->io.context);
    return error ? error : volume->spare >= wanted ? 0 : -ENOSPC;
}

void store_forget(struct volume *volume) {
    u64 size = (volume->blocks_known + 63) / 64 * 8;
    memset(volume->live, 0, size);
    memset(volume->durable_blocks, 0, size);
    memset(volume->kept, 0, size);
    volume->live[0] = (1UL << SUPERBLOCKS) - 1;
    volume->next_free = SUPERBLOCKS;
    volume->blocks_known = volume->superblock.blocks;
}

static bool is_block(const struct volume *volume, u64 physical) {
    return physical >= SUPERBLOCKS && physical < volume->blocks_known && physical < volume->block_limit;
}

long store_claim(struct volume *volume, u64 physical) {
    if (!is_block(volume, physical) || has(volume->live, physical)) return -EBADMSG;
    set(volume->live, physical);
    return 0;
}

long store_claim_durable(struct volume *volume, u64 physical) {
    if (!is_block(volume, physical) || has(volume->durable_blocks, physical)) return -EBADMSG;
    if (has(volume->live, physical)) return 0;
    set(volume->durable_blocks, physical);
    return 1;
}

static void count_spare(struct volume *volume) {
    u64 words = (volume->superblock.blocks + 63) / 64, used = 0;
    for (u64 i = 0; i < words; i++) used += count(volume->live[i] | volume->kept[i]);
    volume->spare = volume->superblock.blocks - used;
}

static void keep(struct volume *volume, bool committed, u64 place) {
    u64 words = (volume->superblock.blocks + 63) / 64;
    for (u64 i = 0; i < words; i++) {
        if (committed) volume->durable_blocks[i] = volume->live[i];
        volume->kept[i] = volume->live[i] | volume->durable_blocks[i];
    }
    set(volume->kept, place);
    count_spare(volume);
}

void store_committed(struct volume *volume) { keep(volume, true, 0); }
void store_published(struct volume *volume, u64 place) { keep(volume, false, place); }

void store_opened(struct volume *volume, u64 place) {
    u64 words = (volume->superblock.blocks + 63) / 64;
    for (u64 i = 0; i < words; i++) volume->durable_blocks[i] |= volume->live[i];
    keep(volume, false, place);
}

long store_place(struct volume *volume) {
    u64 found = find_free(volume);
    if (!found) return -ENOSPC;
    if (found == volume->superblock.blocks) store_grow(volume);
    return (long)found;
}
