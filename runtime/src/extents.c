/* A sorted array: a program has some to thousands of extents, and gets most of them at its end. */
#include "extents.h"

struct entry {
    u64 start, end;
    u32 dropped; /* when its pages were dropped, in seconds; 0 for never */
    bool idle;
};

static struct entry table[EXTENTS_MAX];
static size_t count, idle_below; /* no idle extent has this index or a higher one */
static u64 bytes;

u64 extents_bytes(void) { return bytes; }
size_t extents_count(void) { return count; }

static size_t first_ending_after(u64 address) {
    size_t low = 0, high = count;
    if (count && table[count - 1].end <= address) return count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (table[middle].end > address) high = middle;
        else low = middle + 1;
    }
    return low;
}

static struct entry *entry_of(const struct extent *extent) { return &table[first_ending_after(extent->start)]; }

bool extents_next(u64 address, struct extent *found) {
    size_t i = first_ending_after(address);
    if (i == count) return false;
    *found = (struct extent){table[i].start, table[i].end};
    return true;
}

bool extents_find(u64 address, struct extent *found) { return extents_next(address, found) && found->start <= address; }

void extents_put(const struct extent *extent) {
    size_t at = first_ending_after(extent->start);
    for (size_t i = count++; i > at; i--) table[i] = table[i - 1];
    table[at] = (struct entry){.start = extent->start, .end = extent->end};
    if (idle_below > at) idle_below++;
    bytes += extent->end - extent->start;
}

void extents_drop(const struct extent *extent) {
    size_t at = first_ending_after(extent->start);
    count--;
    for (size_t i = at; i < count; i++) table[i] = table[i + 1];
    if (idle_below > at) idle_below--;
    bytes -= extent->end - extent->start;
}

bool extents_is_idle(const struct extent *extent) { return entry_of(extent)->idle; }

void extents_set_idle(const struct extent *extent, bool idle) {
    struct entry *entry = entry_of(extent);
    entry->idle = idle;
    if (idle) idle_below = max_u64(idle_below, (u64)(entry - table) + 1);
}

bool extents_highest_idle(struct extent *found) {
    for (; idle_below > 0; idle_below--) {
        const struct entry *entry = &table[idle_below - 1];
        if (!entry->idle) continue;
        *found = (struct extent){entry->start, entry->end};
        return true;
    }
    return false;
}

bool extents_dropped_again(const struct extent *extent, u64 seconds) {
    struct entry *entry = entry_of(extent);
    u32 before = entry->dropped, now = (u32)seconds;
    entry->dropped = now;
    return before && now - before <= 2;
}
