#include "window.h"

#include <linux/mman.h>

#include "backing.h"
#include "secret.h"
#include "state.h"

enum { LARGE = 4 << 20 };

static u64 base;
static u64 lowest_free; /* nothing below it is free */

u64 window_start(void) { return base; }
u64 window_end(void) { return base + WINDOW_SIZE; }
bool in_window(u64 address) { return address >= base && address < base + WINDOW_SIZE; }
bool window_meets(u64 start, u64 end) { return start < window_end() && end > base; }
bool window_cut(u64 start, u64 end) { return window_meets(start, end) && (start < base || end > window_end()); }

long window_reserve(void) {
    long at = backing_reserve(0, WINDOW_SIZE + SLOT_SIZE, 0);
    if (failed(at)) return at;
    base = ((u64)at + SLOT_SIZE - 1) & ~(SLOT_SIZE - 1);
    lowest_free = base;
    return 0;
}

/* Much memory gets extents of its own, which are empty when it is released: what shares one with others' is not given back. */
static u64 placed(u64 address, u64 length) {
    struct extent extent;
    if (length < LARGE) return address;
    u64 slot = base + (address - base + SLOT_SIZE - 1) / SLOT_SIZE * SLOT_SIZE;
    return extents_find(slot, &extent) && extent.start < slot ? extent.end : slot;
}

/* First fit from the bottom: low memory is the most recently used, so its pages are likely to exist already. */
static u64 find_free(u64 length) {
    u64 at = placed(lowest_free, length);
    for (size_t i = areas_first_ending_after(at); i < areas_count(); i++) {
        const struct area *area = areas_get(i);
        if (area->start >= window_end()) break;
        if (area->start >= at && area->start - at >= length) return at;
        at = max_u64(at, placed(area->end, length));
    }
    return at < window_end() && window_end() - at >= length ? at : 0;
}

u64 window_take(u64 length) {
    u64 at = areas_have_room(2) && length <= WINDOW_SIZE ? find_free(length) : 0;
    if (at) window_take_at(at, length);
    return at;
}

void window_back_whole(u64 start, u64 length) { backing_provide_whole(start, start + length); }

void window_take_at(u64 start, u64 length) {
    areas_reserve(start, start + length);
    if (start == lowest_free) lowest_free = start + length;
}

long window_protect(u64 start, u64 length, int protection) {
    long error = protection == PROT_NONE ? 0 : backing_provide(start, start + length);
    if (!failed(error)) error = SYS3(__NR_mprotect, start, length, protection);
    if (!failed(error)) areas_protect(start, start + length, protection);
    return error;
}

/* Puts clean, inaccessible memory where a non-secret mapping stood: fresh secret pages if an extent is there. */
static long replace_foreign(u64 start, u64 end) {
    while (start < end) {
        struct extent extent;
        bool found = extents_next(start, &extent), backed = found && extent.start <= start;
        u64 stop = !found ? end : min_u64(end, backed ? extent.end : extent.start);
        long at = backed ? secret_map(start, stop - start, PROT_NONE, MAP_FIXED) : backing_reserve(start, stop - start, MAP_FIXED);
        if (failed(at)) return at;
        start = stop;
    }
    return 0;
}

static long release_foreign(u64 start, u64 end) {
    for (size_t i = areas_first_ending_after(start); i < areas_count() && areas_get(i)->start < end; i++) {
        const struct area *area = areas_get(i);
        if (area->kind == AREA_SECRET) continue;
        long error = replace_foreign(max_u64(area->start, start), min_u64(area->end, end));
        if (failed(error)) return error;
    }
    return 0;
}

static bool is_writable(u64 start, u64 end) {
    const struct area *area = areas_find(start);
    return area && area->end >= end && area->kind == AREA_SECRET && area->protection == (PROT_READ | PROT_WRITE);
}

/* Pages that must be wiped, over as many extents as are in a row. */
struct dirt {
    u64 start, end;
    bool writable;
};

static void clean(struct dirt *dirt) {
    int before = dirt->writable ? PROT_READ | PROT_WRITE : PROT_NONE;
    if (dirt->end > dirt->start) secret_clear(dirt->start, dirt->end - dirt->start, before, PROT_NONE, state.residency);
    dirt->start = dirt->end;
}

/* Cleans [start, end) of an extent, unless the whole of it is given back because nothing is left in it. `length` is that of the release. */
static void recycle(const struct extent *extent, u64 start, u64 end, u64 length, struct dirt *dirt) {
    if (extents_is_idle(extent)) return;
    if (!areas_hold(extent->start, extent->end) && backing_retire(extent, length)) return;
    if (start != dirt->end) clean(dirt);
    if (dirt->start == dirt->end) dirt->start = start;
    dirt->end = end;
}

long window_release(u64 start, u64 length) {
    u64 end = start + length;
    if (!areas_any(start, end)) return 0;
    long error = release_foreign(start, end);
    if (failed(error)) return error;
    bool held = areas_hold(start, end);
    struct dirt dirt = {start, start, is_writable(start, end)};
    areas_drop(start, end);
    lowest_free = min_u64(lowest_free, start);
    struct extent extent;
    for (u64 at = start; held && at < end && extents_next(at, &extent) && extent.start < end; at = extent.end)
        recycle(&extent, max_u64(at, extent.start), min_u64(extent.end, end), length, &dirt);
    clean(&dirt);
    if (held) backing_trim();
    return 0;
}

/* Inaccessible memory need not be backed at all once it is zero. */
long window_discard(u64 start, u64 end, int protection) {
    struct extent extent;
    if (protection == PROT_NONE) {
        long error = window_release(start, end - start);
        if (!failed(error)) window_take_at(start, end - start);
        return error;
    }
    for (u64 at = start; at < end && extents_next(at, &extent) && extent.start < end; at = extent.end) {
        bool whole = extent.start >= start && extent.end <= end;
        u64 from = max_u64(at, extent.start), to = min_u64(extent.end, end);
        if (whole && backing_refresh(&extent, protection)) continue;
        if (!secret_clear(from, to - from, protection, protection, state.residency)) return -EINVAL;
    }
    return 0;
}

bool window_next_extent(u64 address, struct extent *found) { return extents_next(address, found); }
