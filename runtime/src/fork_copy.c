#include "fork_copy.h"

#include <linux/mman.h>

#include "areas.h"
#include "copier.h"
#include "window.h"

/* Copies one mapping that is not backed by a slot: program data at fixed addresses, the runtime's state. */
static long copy_area(u64 start, u64 end, int protection, struct copier *copier) {
    long at = secret_map(0, end - start, PROT_READ | PROT_WRITE, 0);
    if (failed(at)) return at;
    if (!(protection & PROT_READ)) SYS3(__NR_mprotect, start, end - start, PROT_READ);
    copier_add(copier, (u64)at, start, end - start);
    copier_finish(copier);
    if (protection != (PROT_READ | PROT_WRITE)) SYS3(__NR_mprotect, at, end - start, protection);
    return SYS5(__NR_mremap, at, end - start, end - start, MREMAP_MAYMOVE | MREMAP_FIXED, start);
}

static void add_secret_areas_of(const struct extent *extent, u64 to, struct copier *copier) {
    for (size_t i = areas_first_ending_after(extent->start); i < areas_count() && areas_get(i)->start < extent->end; i++) {
        const struct area *area = areas_get(i);
        if (area->kind != AREA_SECRET) continue;
        u64 start = max_u64(area->start, extent->start), stop = min_u64(area->end, extent->end);
        if (!(area->protection & PROT_READ)) SYS3(__NR_mprotect, start, stop - start, PROT_READ);
        copier_add(copier, to + (start - extent->start), start, stop - start);
    }
}

/* Moves [start, stop) of the copied extent into its place and gives it the protections the areas say. */
static long settle(u64 copied, u64 start, u64 stop) {
    if (start >= stop) return 0;
    u64 length = stop - start;
    long error = SYS5(__NR_mremap, copied, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, start);
    if (failed(error)) return error;
    SYS3(__NR_mprotect, start, length, PROT_NONE);
    for (size_t i = areas_first_ending_after(start); i < areas_count() && areas_get(i)->start < stop; i++) {
        const struct area *area = areas_get(i);
        u64 from = max_u64(area->start, start), to = min_u64(area->end, stop);
        if (area->protection != PROT_NONE) error = SYS3(__NR_mprotect, from, to - from, area->protection);
        if (failed(error)) return error;
    }
    return 0;
}

static long settle_extent(const struct extent *extent, u64 copy) {
    u64 at = extent->start;
    long error = 0;
    for (size_t i = areas_first_ending_after(at); i < areas_count() && areas_get(i)->start < extent->end && !failed(error); i++) {
        const struct area *area = areas_get(i);
        if (area->kind == AREA_SECRET) continue;
        error = settle(copy + (at - extent->start), at, area->start);
        at = area->end;
    }
    if (!failed(error)) error = settle(copy + (at - extent->start), at, extent->end);
    return error;
}

/* Extents that are copied together: most are smaller than what is worth a second thread. */
enum { TOGETHER = 64 };
struct batch {
    struct extent extent[TOGETHER];
    u64 copy[TOGETHER];
    u32 count;
};

static long settle_batch(struct batch *batch, struct copier *copier) {
    long error = 0;
    copier_finish(copier);
    for (u32 i = 0; i < batch->count && !failed(error); i++) error = settle_extent(&batch->extent[i], batch->copy[i]);
    batch->count = 0;
    return error;
}

static long copy_extent(struct batch *batch, const struct extent *extent, struct copier *copier) {
    long copy = secret_map(0, extent->end - extent->start, PROT_READ | PROT_WRITE, 0);
    if (failed(copy)) return copy;
    add_secret_areas_of(extent, (u64)copy, copier);
    batch->extent[batch->count] = *extent;
    batch->copy[batch->count++] = (u64)copy;
    return batch->count == TOGETHER ? settle_batch(batch, copier) : 0;
}

static long copy_all(struct copier *copier) {
    long error = 0;
    for (size_t i = 0; i < areas_count() && !failed(error); i++) {
        const struct area *area = areas_get(i);
        if (area->kind == AREA_SECRET && !in_window(area->start))
            error = copy_area(area->start, area->end, area->protection, copier);
    }
    struct extent extent = {0};
    struct batch batch;
    batch.count = 0;
    while (!failed(error) && window_next_extent(extent.end, &extent)) error = copy_extent(&batch, &extent, copier);
    return failed(error) ? error : settle_batch(&batch, copier);
}

long fork_copy_program_memory(void) {
    u8 residency[PAGES_AT_ONCE];
    struct copier copier;
    copier_begin(&copier, residency);
    long error = copy_all(&copier);
    copier_end(&copier);
    return error;
}
