#include "window.h"

#include <linux/mman.h>

#include "secret.h"
#include "state.h"

static u64 base;
static u64 lowest_free; /* nothing below it is free */
enum { SLOT_COUNT = WINDOW_SIZE / SLOT_SIZE };

static u8 backed[SLOT_COUNT];
static u64 backed_count, highest_backed;

/* Idle slots kept mapped, so that a program that frees and allocates in turn does not pay for first touch each time. */
static u64 idle_limit(void) { return max_u64(4, backed_count / 4); }

u64 window_start(void) { return base; }
u64 window_end(void) { return base + WINDOW_SIZE; }
bool in_window(u64 address) { return address >= base && address < base + WINDOW_SIZE; }
bool window_meets(u64 start, u64 end) { return start < window_end() && end > base; }
bool window_cut(u64 start, u64 end) { return window_meets(start, end) && (start < base || end > window_end()); }
static u64 slot_start(u64 slot) { return base + slot * SLOT_SIZE; }
static u64 slot_of(u64 address) { return (address - base) / SLOT_SIZE; }

static long reserve(u64 address, u64 length, int extra_flags) {
    return SYS6(__NR_mmap, address, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | extra_flags, -1, 0);
}

long window_reserve(void) {
    long at = reserve(0, WINDOW_SIZE + SLOT_SIZE, 0);
    if (failed(at)) return at;
    base = ((u64)at + SLOT_SIZE - 1) & ~(SLOT_SIZE - 1);
    lowest_free = base;
    return 0;
}

/* First fit from the bottom: low memory is the most recently used, so its pages are likely to exist already. */
static u64 find_free(u64 length) {
    u64 at = lowest_free;
    for (size_t i = areas_first_ending_after(at); i < areas_count(); i++) {
        const struct area *area = areas_get(i);
        if (area->start >= window_end()) break;
        if (area->start >= at && area->start - at >= length) return at;
        at = area->end;
    }
    return at < window_end() && window_end() - at >= length ? at : 0;
}

u64 window_take(u64 length) {
    u64 at = areas_have_room(2) && length <= WINDOW_SIZE ? find_free(length) : 0;
    if (at) window_take_at(at, length);
    return at;
}

void window_take_at(u64 start, u64 length) {
    areas_put(start, start + length, AREA_SECRET, PROT_NONE);
    if (start == lowest_free) lowest_free = start + length;
}

/* Maps [from, to) of a slot, leaving out what is not secret there (a file mapped MAP_FIXED into the window). */
static long back_range(int fd, u64 slot, u64 from, u64 to) {
    if (from >= to) return 0;
    long at = secret_map_from(fd, from, to - from, PROT_NONE, MAP_FIXED, from - slot_start(slot));
    return failed(at) ? at : 0;
}

static long back_slot(u64 slot) {
    long fd = secret_open(SLOT_SIZE), error = 0;
    if (failed(fd)) return fd;
    u64 at = slot_start(slot), end = at + SLOT_SIZE;
    for (size_t i = areas_first_ending_after(at); i < areas_count() && areas_get(i)->start < end && !error; i++) {
        const struct area *area = areas_get(i);
        if (area->kind == AREA_SECRET) continue;
        error = back_range((int)fd, slot, at, area->start);
        at = area->end;
    }
    if (!error) error = back_range((int)fd, slot, at, end);
    SYS1(__NR_close, fd);
    if (failed(error)) return error;
    backed[slot] = 1;
    backed_count++;
    highest_backed = max_u64(highest_backed, slot);
    return 0;
}

static bool slot_is_empty(u64 slot) { return !areas_any(slot_start(slot), slot_start(slot) + SLOT_SIZE); }

long window_protect(u64 start, u64 length, int protection) {
    if (protection != PROT_NONE)
        for (u64 slot = slot_of(start); slot <= slot_of(start + length - 1); slot++) {
            long error = backed[slot] ? 0 : back_slot(slot);
            if (failed(error)) return error;
        }
    long error = SYS3(__NR_mprotect, start, length, protection);
    if (!failed(error)) areas_protect(start, start + length, protection);
    return error;
}

/* Gives an idle slot's memory back to the kernel. */
static void retire(u64 slot) {
    if (failed(reserve(slot_start(slot), SLOT_SIZE, MAP_FIXED))) return;
    backed[slot] = 0;
    backed_count--;
}

/* Puts clean, inaccessible memory where a non-secret mapping stood: fresh secret pages if the slot is backed. */
static long replace_foreign(u64 start, u64 end) {
    while (start < end) {
        u64 stop = min_u64(end, slot_start(slot_of(start)) + SLOT_SIZE);
        long at = backed[slot_of(start)] ? secret_map(start, stop - start, PROT_NONE, MAP_FIXED)
                                         : reserve(start, stop - start, MAP_FIXED);
        if (failed(at)) return at;
        start = stop;
    }
    return 0;
}

#define UNKNOWN (~0UL)

static u64 idle_slots(void) {
    u64 idle = 0;
    for (u64 slot = 0; slot <= highest_backed; slot++) idle += backed[slot] && slot_is_empty(slot);
    return idle;
}

/* Cleans [start, end) of one backed slot, or gives the whole slot back if nothing is left in it and enough are idle. `idle`
 * counts them, once known: counting takes a look at every slot. */
static void recycle(u64 slot, u64 start, u64 end, u64 *idle) {
    bool empty = slot_is_empty(slot);
    if (empty && *idle == UNKNOWN) *idle = idle_slots();
    if (empty && *idle > idle_limit()) {
        retire(slot);
        (*idle)--;
        return;
    }
    if (failed(SYS3(__NR_mprotect, start, end - start, PROT_READ | PROT_WRITE))) return;
    secret_wipe(start, end - start, state.residency);
    SYS3(__NR_mprotect, start, end - start, PROT_NONE);
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

long window_release(u64 start, u64 length) {
    u64 end = start + length;
    if (!areas_any(start, end)) return 0;
    long error = release_foreign(start, end);
    if (failed(error)) return error;
    areas_drop(start, end);
    lowest_free = min_u64(lowest_free, start);
    u64 idle = UNKNOWN;
    for (u64 at = start; at < end;) {
        u64 slot = slot_of(at), stop = min_u64(end, slot_start(slot) + SLOT_SIZE);
        if (backed[slot]) recycle(slot, at, stop, &idle);
        at = stop;
    }
    return 0;
}

bool window_next_extent(u64 address, struct extent *found) {
    for (u64 slot = address > base ? slot_of(address) : 0; backed_count && slot <= highest_backed; slot++) {
        if (!backed[slot]) continue;
        *found = (struct extent){slot_start(slot), slot_start(slot) + SLOT_SIZE};
        return true;
    }
    return false;
}

u64 window_alike(u64 start, u64 end, bool *is_backed) {
    *is_backed = backed[slot_of(start)];
    return min_u64(end, slot_start(slot_of(start)) + SLOT_SIZE);
}
