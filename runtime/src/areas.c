/* A sorted array. Programs have tens to thousands of areas: a binary search and a short move beat any tree here. */
#include "areas.h"

static struct area table[AREAS_MAX] BEHIND;
static size_t count;

bool areas_have_room(size_t more) { return count + more <= AREAS_MAX; }
size_t areas_count(void) { return count; }
struct area *areas_get(size_t index) { return &table[index]; }

size_t areas_first_ending_after(u64 address) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (table[middle].end > address) high = middle;
        else low = middle + 1;
    }
    return low;
}

static void shift(size_t from, size_t to) {
    size_t moved = count - from;
    if (to > from)
        for (size_t i = moved; i-- > 0;) table[to + i] = table[from + i];
    else
        for (size_t i = 0; i < moved; i++) table[to + i] = table[from + i];
    count = to + moved;
}

/* Makes `address` a boundary between areas; returns the index of the first area at or above it. */
static size_t split_at(u64 address) {
    size_t i = areas_first_ending_after(address);
    if (i == count || table[i].start >= address) return i;
    shift(i, i + 1);
    table[i].end = address;
    table[i + 1].start = address;
    return i + 1;
}

static bool alike(const struct area *left, const struct area *right) {
    return left->end == right->start && left->kind == right->kind && left->protection == right->protection &&
           left->untouched == right->untouched;
}

static void join_around(size_t first, size_t last) {
    size_t i = first > 0 ? first : 1;
    while (i <= last + 1 && i < count) {
        if (!alike(&table[i - 1], &table[i])) {
            i++;
            continue;
        }
        table[i - 1].end = table[i].end;
        shift(i + 1, i);
        if (last > 0) last--;
    }
}

void areas_drop(u64 start, u64 end) {
    size_t first = split_at(start), past = split_at(end);
    shift(past, first);
}

static void put(const struct area *area) {
    areas_drop(area->start, area->end);
    size_t i = areas_first_ending_after(area->start);
    shift(i, i + 1);
    table[i] = *area;
    join_around(i, i);
}

void areas_put(u64 start, u64 end, enum area_kind kind, int protection) {
    const struct area area = {.start = start, .end = end, .kind = (u8)kind, .protection = (u8)protection};
    put(&area);
}

void areas_reserve(u64 start, u64 end) {
    const struct area area = {.start = start, .end = end, .kind = AREA_SECRET, .untouched = 1};
    put(&area);
}

void areas_protect(u64 start, u64 end, int protection) {
    size_t first = split_at(start), past = split_at(end);
    if (first == past) return;
    for (size_t i = first; i < past; i++) {
        table[i].protection = (u8)protection;
        if (protection) table[i].untouched = 0;
    }
    join_around(first, past - 1);
}

bool areas_cover(u64 start, u64 end) {
    for (size_t i = areas_first_ending_after(start); start < end; i++) {
        if (i == count || table[i].start > start) return false;
        start = table[i].end;
    }
    return true;
}

bool areas_any(u64 start, u64 end) {
    size_t i = areas_first_ending_after(start);
    return i < count && table[i].start < end;
}

bool areas_hold(u64 start, u64 end) {
    for (size_t i = areas_first_ending_after(start); i < count && table[i].start < end; i++)
        if (!table[i].untouched) return true;
    return false;
}

const struct area *areas_find(u64 address) {
    size_t i = areas_first_ending_after(address);
    return i < count && table[i].start <= address ? &table[i] : NULL;
}
