/* Merge sort of a list, which needs no memory; what was written from front to back is in order already. */
#include "order.h"

enum { MERGES = 32 };

static bool is_before(const struct frame *one, const struct frame *other) {
    return one->object < other->object || (one->object == other->object && one->index < other->index);
}

static bool is_in_order(const struct volume *volume, u32 first) {
    const struct frame *frames = volume->frames;
    for (u32 at = first, next; at != NO_FRAME && (next = frames[at].dirty_next) != NO_FRAME; at = next)
        if (is_before(&frames[next], &frames[at])) return false;
    return true;
}

static u32 merge(struct volume *volume, u32 one, u32 other) {
    struct frame *frames = volume->frames;
    u32 first = NO_FRAME, *link = &first;
    while (one != NO_FRAME && other != NO_FRAME) {
        u32 *from = is_before(&frames[other], &frames[one]) ? &other : &one;
        *link = *from;
        link = &frames[*from].dirty_next;
        *from = *link;
    }
    *link = one != NO_FRAME ? one : other;
    return first;
}

static u32 sort(struct volume *volume, u32 first) {
    u32 sorted[MERGES], all = NO_FRAME; /* 2^i frames, or none */
    for (u32 i = 0; i < MERGES; i++) sorted[i] = NO_FRAME;
    while (first != NO_FRAME) {
        u32 carried = first, i = 0;
        first = volume->frames[carried].dirty_next;
        volume->frames[carried].dirty_next = NO_FRAME;
        for (; sorted[i] != NO_FRAME; sorted[i++] = NO_FRAME) carried = merge(volume, sorted[i], carried);
        sorted[i] = carried;
    }
    for (u32 i = 0; i < MERGES; i++) all = merge(volume, sorted[i], all);
    return all;
}

void order_dirty(struct volume *volume, u32 list) {
    if (is_in_order(volume, volume->dirty_first[list])) return;
    u32 before = NO_FRAME, first = volume->dirty_first[list] = sort(volume, volume->dirty_first[list]);
    for (u32 at = first; at != NO_FRAME; at = volume->frames[at].dirty_next) {
        volume->frames[at].dirty_previous = before;
        before = at;
    }
    volume->dirty_last[list] = before;
}
