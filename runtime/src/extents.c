/* One byte for each slot. The table stands in secret memory, whose first touch is dear, also for reading: so groups of slots that
 * share a page of it are counted, and what has no extent is not looked at. */
#include "extents.h"

enum { SLOTS = WINDOW_SIZE / SLOT_SIZE, GROUP = PAGE, GROUPS = SLOTS / GROUP };
enum { FIRST = 1, MORE = 2, IDLE = 4, BACKED = FIRST | MORE, STAMP_SHIFT = 4, STAMPS = 15 };

static u8 slots[SLOTS] BEHIND;
static u16 in_group[GROUPS] BEHIND; /* backed slots */
static u64 base, bytes, highest, highest_idle;

static u64 slot_of(u64 address) { return (address - base) / SLOT_SIZE; }
static u64 address_of(u64 slot) { return base + slot * SLOT_SIZE; }

void extents_begin(u64 start) { base = start; }
u64 extents_bytes(void) { return bytes; }

static void find_around(u64 slot, struct extent *found) {
    u64 first = slot, past = slot + 1;
    while (slots[first] & MORE) first--;
    while (past < SLOTS && past <= highest && slots[past] & MORE) past++;
    *found = (struct extent){address_of(first), address_of(past)};
}

static bool is_backed(u64 slot) { return slot <= highest && in_group[slot / GROUP] && slots[slot] & BACKED; }

bool extents_find(u64 address, struct extent *found) {
    u64 slot = slot_of(address);
    if (!is_backed(slot)) return false;
    find_around(slot, found);
    return true;
}

bool extents_next(u64 address, struct extent *found) {
    u64 slot = address > base ? slot_of(address) : 0;
    while (bytes && slot <= highest) {
        if (is_backed(slot)) {
            find_around(slot, found);
            return true;
        }
        slot = in_group[slot / GROUP] ? slot + 1 : (slot / GROUP + 1) * GROUP;
    }
    return false;
}

void extents_put(const struct extent *extent) {
    u64 first = slot_of(extent->start), past = slot_of(extent->end - 1) + 1;
    for (u64 slot = first; slot < past; slot++) {
        slots[slot] = (u8)((slots[slot] & ~(BACKED | IDLE)) | (slot == first ? FIRST : MORE));
        in_group[slot / GROUP]++;
    }
    bytes += extent->end - extent->start;
    highest = max_u64(highest, past - 1);
}

void extents_drop(const struct extent *extent) {
    for (u64 slot = slot_of(extent->start); slot <= slot_of(extent->end - 1); slot++) {
        slots[slot] &= (u8)~(BACKED | IDLE);
        in_group[slot / GROUP]--;
    }
    bytes -= extent->end - extent->start;
}

bool extents_is_idle(const struct extent *extent) { return slots[slot_of(extent->start)] & IDLE; }

void extents_set_idle(const struct extent *extent, bool idle) {
    u64 slot = slot_of(extent->start);
    slots[slot] = (u8)(idle ? slots[slot] | IDLE : slots[slot] & ~IDLE);
    if (idle) highest_idle = max_u64(highest_idle, slot);
}

/* None is above the mark `highest_idle`, which goes down with the search. */
bool extents_highest_idle(struct extent *found) {
    for (;;) {
        u64 group = highest_idle / GROUP;
        if (is_backed(highest_idle) && slots[highest_idle] & IDLE) {
            find_around(highest_idle, found);
            return true;
        }
        if (highest_idle == 0) return false;
        highest_idle = in_group[group] || !group ? highest_idle - 1 : group * GROUP - 1;
    }
}

/* Four bits of time stand in each extent's first slot: 0 for never. After 15 seconds they begin anew, and an extent may be
 * mistaken for one that was dropped just now: it keeps its pages that time. */
bool extents_dropped_again(const struct extent *extent, u64 seconds) {
    u64 slot = slot_of(extent->start), then = slots[slot] >> STAMP_SHIFT, now = seconds % STAMPS + 1;
    slots[slot] = (u8)((slots[slot] & ((1 << STAMP_SHIFT) - 1)) | now << STAMP_SHIFT);
    return then && (now + STAMPS - then) % STAMPS <= 2;
}
