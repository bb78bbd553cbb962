#include "deferral_pages.h"

#include <linux/mman.h>

#include "areas.h"
#include "process.h"
#include "secret.h"

static bool is_held_back_area(const struct area *area) { return area->kind == AREA_SECRET && area->protection & PROT_WRITE; }

/* [start, end) of the runtime's own writable memory. */
static bool next_own(u16 *index, u64 *start, u64 *end) {
    for (; *index < process_segment_count(); (*index)++) {
        const Elf64_Phdr *segment = process_segments() + *index;
        if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_W)) continue;
        *start = page_down(segment->p_vaddr), *end = page_up(segment->p_vaddr + segment->p_memsz);
        (*index)++;
        return true;
    }
    return false;
}

bool pages_held_back(u64 address) {
    u64 start, end;
    for (u16 i = 0; next_own(&i, &start, &end);)
        if (address >= start && address < end) return true;
    const struct area *area = areas_find(address);
    return area && is_held_back_area(area);
}

bool pages_hold_back(void) {
    u64 start, end;
    for (u16 i = 0; next_own(&i, &start, &end);)
        if (failed(SYS3(__NR_mprotect, start, end - start, PROT_READ))) return false;
    for (size_t i = 0; i < areas_count(); i++) {
        const struct area *area = areas_get(i);
        if (is_held_back_area(area) && failed(SYS3(__NR_mprotect, area->start, area->end - area->start, PROT_READ))) return false;
    }
    return true;
}

bool pages_give_back(void) {
    for (size_t i = 0; i < areas_count(); i++) {
        const struct area *area = areas_get(i);
        if (is_held_back_area(area) && failed(SYS3(__NR_mprotect, area->start, area->end - area->start, area->protection))) return false;
    }
    return true;
}

static long free_pages(struct deferral *deferral, u64 count) {
    if (deferral->pool_taken + count > DEFERRAL_POOL) return secret_map(0, count * PAGE, PROT_READ | PROT_WRITE, 0);
    u64 at = deferral->pool + deferral->pool_taken * PAGE;
    for (u64 i = 0; i < count; i++) deferral->touched[deferral->pool_taken++] = 0;
    return (long)at;
}

/* The pool's pages exist already after a first fork, so this costs no first touch. */
static bool make_private(struct deferral *deferral, u64 start, u64 count) {
    u32 first = deferral->pool_taken;
    long at = free_pages(deferral, count);
    if (failed(at)) return false;
    memcpy(ptr_of((u64)at), ptr_of(start), count * PAGE);
    for (u32 i = first; i < deferral->pool_taken; i++) deferral->touched[i] = start + (i - first) * PAGE;
    return !failed(SYS5(__NR_mremap, at, count * PAGE, count * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, start));
}

static bool is_private(const struct deferral *deferral, u64 page) {
    for (u32 i = 0; i < deferral->pool_taken; i++)
        if (deferral->touched[i] == page) return true;
    return false;
}

bool pages_open(struct deferral *deferral, u64 page) {
    return !pages_held_back(page) || is_private(deferral, page) || make_private(deferral, page, 1);
}

static bool is_free_to_open(const struct deferral *deferral, u64 page) { return pages_held_back(page) && !is_private(deferral, page); }

bool pages_open_all(struct deferral *deferral, const u64 *pages, u64 count) {
    for (u64 i = 0; i < count;) {
        u64 start = pages[i], run = 0;
        while (i + run < count && pages[i + run] == start + run * PAGE && is_free_to_open(deferral, pages[i + run])) run++;
        if (run && !make_private(deferral, start, run)) return false;
        i += run ? run : 1;
    }
    return true;
}

bool deferral_open(u64 address, u64 length) {
    struct deferral *deferral = deferral_now();
    u64 end = address + length;
    for (u64 page = page_down(address); deferral && page < end; page += PAGE)
        if (!pages_open(deferral, page)) return false;
    return true;
}
