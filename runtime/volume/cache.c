/* Memory that nobody has touched costs more than to read and decrypt a block several times (secret memory: 15 us a page). So the cache
 * begins small, and doubles when an eighth of it was dropped and wanted again: what is only passed through does not make it grow. */
#include "cache.h"

static u64 hash_of(u64 object, u32 level, u64 index) {
    u64 hash = (object * 0x9e3779b97f4a7c15UL) ^ (index * 0xc2b2ae3d27d4eb4fUL) ^ level;
    return hash ^ hash >> 29;
}

u32 *cache_bucket(struct volume *volume, u64 object, u32 level, u64 index) {
    return &volume->buckets[hash_of(object, level, index) & volume->bucket_mask];
}

/* The upper half says which of those that share a place it was. */
static void remember_dropped(struct volume *volume, const struct frame *frame) {
    u64 hash = hash_of(frame->object, frame->level, frame->index);
    volume->ghosts[hash & volume->ghost_mask] = (u32)(hash >> 32) | 1;
}

static void note_wanted(struct volume *volume, u64 object, u32 level, u64 index) {
    u64 hash = hash_of(object, level, index);
    u32 *ghost = &volume->ghosts[hash & volume->ghost_mask];
    if (volume->frames_open == volume->frame_count || *ghost != ((u32)(hash >> 32) | 1)) return;
    *ghost = 0;
    if (++volume->came_back < volume->frames_open / ENOUGH_CAME_BACK) return;
    volume->came_back = 0;
    volume->hand = volume->frames_open;
    volume->frames_open = volume->frames_open > volume->frame_count / 2 ? volume->frame_count : volume->frames_open * 2;
}

static u32 list_of(const struct frame *frame) { return frame->level + (frame->object == TABLE ? LEVELS : 0U); }

void cache_begin(struct volume *volume, bool in_order) {
    if (!in_order) memset(volume->buckets, 0, (volume->bucket_mask + 1UL) * sizeof *volume->buckets);
    for (u32 at = 0; in_order && at < volume->frames_touched; at++) {
        const struct frame *frame = &volume->frames[at];
        if (frame->used) *cache_bucket(volume, frame->object, frame->level, frame->index) = 0;
    }
    memset(volume->frames, 0, volume->frames_touched * sizeof *volume->frames);
    for (u32 i = 0; i < DIRTY_LISTS; i++) volume->dirty_first[i] = volume->dirty_last[i] = NO_FRAME;
    volume->dirty_count = 0;
}

u32 cache_find(struct volume *volume, u64 object, u32 level, u64 index) {
    for (u32 at = *cache_bucket(volume, object, level, index); at; at = volume->frames[at - 1].next_in_bucket) {
        struct frame *frame = &volume->frames[at - 1];
        if (frame->object != object || frame->level != level || frame->index != index) continue;
        frame->referenced = 1;
        return at - 1;
    }
    return NO_FRAME;
}

void cache_drop(struct volume *volume, u32 at) {
    struct frame *frame = &volume->frames[at];
    if (frame->dirty) cache_clean(volume, at);
    u32 *link = cache_bucket(volume, frame->object, frame->level, frame->index);
    while (*link != at + 1) link = &volume->frames[*link - 1].next_in_bucket;
    *link = frame->next_in_bucket;
    frame->used = 0;
}

/* Second chance. At least half of the open frames are clean when an operation starts (volume_begin), and none makes more than
 * OPERATION_FRAMES dirty, so there is one to be had. */
static u32 evict(struct volume *volume) {
    for (;;) {
        u32 at = volume->hand;
        struct frame *frame = &volume->frames[at];
        volume->hand = (at + 1) % volume->frames_open;
        if (at >= volume->frames_touched) volume->frames_touched = at + 1;
        if (!frame->used) return at;
        if (frame->dirty) continue;
        if (frame->referenced) {
            frame->referenced = 0;
            continue;
        }
        remember_dropped(volume, frame);
        cache_drop(volume, at);
        return at;
    }
}

u32 cache_take(struct volume *volume, u64 object, u32 level, u64 index) {
    note_wanted(volume, object, level, index);
    u32 at = evict(volume), *bucket = cache_bucket(volume, object, level, index);
    volume->frames[at] = (struct frame){.object = object, .index = index, .level = (u8)level, .used = 1, .referenced = 1,
                                        .next_in_bucket = *bucket};
    *bucket = at + 1;
    return at;
}

void cache_dirty(struct volume *volume, u32 at) {
    struct frame *frame = &volume->frames[at];
    if (frame->dirty) return;
    u32 *last = &volume->dirty_last[list_of(frame)];
    frame->dirty = 1;
    frame->dirty_next = NO_FRAME;
    frame->dirty_previous = *last;
    if (*last == NO_FRAME) volume->dirty_first[list_of(frame)] = at;
    else volume->frames[*last].dirty_next = at;
    *last = at;
    volume->dirty_count++;
}

void cache_clean(struct volume *volume, u32 at) {
    struct frame *frame = &volume->frames[at];
    if (!frame->dirty) return;
    if (frame->dirty_previous == NO_FRAME) volume->dirty_first[list_of(frame)] = frame->dirty_next;
    else volume->frames[frame->dirty_previous].dirty_next = frame->dirty_next;
    if (frame->dirty_next == NO_FRAME) volume->dirty_last[list_of(frame)] = frame->dirty_previous;
    else volume->frames[frame->dirty_next].dirty_previous = frame->dirty_previous;
    frame->dirty = 0;
    volume->dirty_count--;
}
