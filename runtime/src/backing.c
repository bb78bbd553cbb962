#include "backing.h"

#include <linux/mman.h>

#include "areas.h"
#include "idle.h"
#include "secret.h"
#include "state.h"
#include "window.h"

enum { SMALL = 16 << 20, FOR_SMALL = 2 << 20, PARTS = 256, GROWTH = 1024, CROWDED = 16 << 20, REVIEW_EVERY = 64, WORTHWHILE = 4, PROCESS_TIME = 2, MONOTONIC_COARSE = 6 };

static u64 taken, given; /* since it was told to idle.c: once in a call, for the clocks are not free */

static u64 size_of(const struct extent *extent) { return extent->end - extent->start; }

static u64 milliseconds(int clock) {
    u64 now[2] = {0, 0};
    SYS2(__NR_clock_gettime, clock, now);
    return now[0] * 1000 + now[1] / 1000000;
}

static struct moment now(void) { return (struct moment){milliseconds(MONOTONIC_COARSE), milliseconds(PROCESS_TIME)}; }

long backing_reserve(u64 address, u64 length, int extra_flags) {
    return SYS6(__NR_mmap, address, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | extra_flags, -1, 0);
}

/* Small extents are emptied sooner, also by programs that discard memory in pieces. But each is a mapping, of which the kernel
 * allows 65530, work for fork, and a descriptor that can be taken. So they grow with what is asked for and with what there is; and
 * small programs, of which nobody expects much back, have few. */
static u64 wanted_size(u64 length) {
    u64 all = extents_bytes(), size = SLOT_SIZE;
    if (all < SMALL && length < SMALL) return FOR_SMALL;
    u64 wanted = max_u64(max_u64(length / PARTS, all / GROWTH), extents_count() > EXTENTS_MAX / 2 ? CROWDED : 0);
    while (size * 2 <= min_u64(wanted, EXTENT_MOST)) size *= 2;
    return size;
}

static long map_piece(const struct secret *secret, const struct extent *extent, u64 from, u64 to) {
    if (from >= to) return 0;
    long at = secret_map_from(secret, from, to - from, PROT_NONE, MAP_FIXED, from - extent->start);
    return failed(at) ? at : 0;
}

/* Leaves out what is not secret there (a file mapped MAP_FIXED into the window). */
static long map_pieces(const struct secret *secret, const struct extent *extent) {
    u64 at = extent->start;
    long error = 0;
    for (size_t i = areas_first_ending_after(at); i < areas_count() && areas_get(i)->start < extent->end && !error; i++) {
        const struct area *area = areas_get(i);
        if (area->kind == AREA_SECRET) continue;
        error = map_piece(secret, extent, at, area->start);
        at = area->end;
    }
    return error ? error : map_piece(secret, extent, at, extent->end);
}

static long back(const struct extent *extent) {
    long error = extents_count() < EXTENTS_MAX ? -ESTALE : -ENOMEM;
    for (int i = 0; i < SECRET_TRIES && error == -ESTALE; i++) {
        struct secret secret;
        error = secret_open(size_of(extent), &secret);
        if (failed(error)) continue;
        error = map_pieces(&secret, extent);
        if (error != -ESTALE) secret_close(&secret);
    }
    if (failed(error)) return error == -ESTALE ? -ENOMEM : error;
    extents_put(extent);
    taken += size_of(extent);
    return 0;
}

/* Backs memory from the start of a slot on, as far as the next extent at most; at a limit, no more than is asked for. */
static long back_gap(u64 at, u64 end, u64 wanted) {
    struct extent next = {0}, extent = {at, at + wanted};
    bool bounded = extents_next(at, &next);
    extent.end = min_u64(extent.end, bounded ? next.start : window_end());
    long error = back(&extent);
    u64 least = (end - at + SLOT_SIZE - 1) / SLOT_SIZE * SLOT_SIZE;
    if (!failed(error) || (wanted == SLOT_SIZE && least >= wanted)) return error;
    extent.end = min_u64(extent.end, at + min_u64(least, SLOT_SIZE));
    return back(&extent);
}

static void use_idle(const struct extent *extent) {
    if (!extents_is_idle(extent)) return;
    extents_set_idle(extent, false);
    idle_remove(size_of(extent));
}

static void tell_idle(void) {
    struct moment moment = taken || given ? now() : (struct moment){0, 0};
    if (given) idle_gave_back(given, moment);
    if (taken) idle_took_new(taken, moment);
    taken = given = 0;
}

static long provide(u64 start, u64 end, u64 wanted) {
    long error = 0;
    for (u64 at = start; at < end && !failed(error);) {
        struct extent extent;
        if (extents_find(at, &extent)) {
            use_idle(&extent);
            at = extent.end;
            continue;
        }
        if (!wanted) wanted = wanted_size(end - start);
        error = back_gap(at - (at - window_start()) % SLOT_SIZE, end, wanted);
    }
    tell_idle();
    return error;
}

long backing_provide(u64 start, u64 end) { return provide(start, end, 0); }

void backing_provide_whole(u64 start, u64 end) {
    u64 size = (end - start + SLOT_SIZE - 1) / SLOT_SIZE * SLOT_SIZE;
    if (size <= EXTENT_MOST && failed(provide(start, end, size))) return; /* it is tried again where it is used */
}

/* The pages die with the inode's last mapping. An idle extent may have got a file mapped into it meanwhile: then it is in use. */
static bool give_back(const struct extent *extent) {
    use_idle(extent);
    if (areas_hold(extent->start, extent->end) || failed(backing_reserve(extent->start, size_of(extent), MAP_FIXED))) return false;
    extents_drop(extent);
    given += size_of(extent);
    return true;
}

/* Whether so much more may be idle, when `length` bytes are released at once. Of much memory nothing is kept, unless the program has
 * shown that it needs it again: natively it would have to fill new memory too. */
static bool fits(u64 size, u64 length) {
    u64 used = length >= SMALL ? 0 : extents_bytes() - idle_bytes();
    return idle_bytes() + size <= idle_limit(used);
}

/* What is idle at higher addresses goes first, for memory is taken from below. */
static void make_room(const struct extent *extent, u64 length) {
    struct extent high;
    while (!fits(size_of(extent), length) && extents_highest_idle(&high) && high.start > extent->start) give_back(&high);
}

void backing_trim(void) {
    struct extent high;
    while (!fits(0, 0) && extents_highest_idle(&high)) give_back(&high);
    tell_idle();
}

bool backing_retire(const struct extent *extent, u64 length) {
    static u32 calls;
    if (++calls % REVIEW_EVERY == 0) idle_review(milliseconds(MONOTONIC_COARSE));
    make_room(extent, length);
    if (!fits(size_of(extent), length) && give_back(extent)) return true;
    extents_set_idle(extent, true);
    idle_add(size_of(extent));
    return false;
}

static bool is_well_filled(const struct extent *extent) {
    u64 pages = 0;
    for (u64 at = extent->start; at < extent->end; at += PAGES_AT_ONCE * PAGE) {
        u64 count = min_u64(extent->end - at, PAGES_AT_ONCE * PAGE) / PAGE;
        if (failed(SYS3(__NR_mincore, at, count * PAGE, state.residency))) continue;
        for (u64 i = 0; i < count; i++) pages += state.residency[i] & 1;
    }
    return pages >= size_of(extent) / PAGE / WORTHWHILE;
}

/* What was dropped and filled again within two seconds is wiped from then on, as long as that goes on. */
bool backing_refresh(const struct extent *extent, int protection) {
    if (!is_well_filled(extent) || extents_dropped_again(extent, milliseconds(MONOTONIC_COARSE) / 1000)) return false;
    return !failed(secret_map(extent->start, size_of(extent), protection, MAP_FIXED));
}
