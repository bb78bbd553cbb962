#include <linux/mman.h>

#include "../shield/shield.h"
#include "limits.h"
#include "memory.h"
#include "secret.h"
#include "state.h"
#include "window.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* Linux 5.18 */
#endif

/* Room for the heap; it costs address space only. */
static const u64 break_room = 1UL << 36;
static u64 break_start, break_now;

/* "The next access sees zeroes." */
static long discard(u64 start, u64 end, int protection) {
    if (in_window(start)) return window_discard(start, end, protection);
    return secret_clear(start, end - start, protection, protection, state.residency) ? 0 : -EINVAL;
}

/* Advice that secret memory cannot follow and that changes nothing a program could see is taken and ignored; the rest is
 * refused, for callers have another way (a guard page by mprotect instead of MADV_GUARD_INSTALL, a pid check instead of
 * MADV_WIPEONFORK). */
static long advise_secret(const struct area *area, u64 start, u64 end, int advice) {
    switch (advice) {
    case MADV_POPULATE_READ: return area->protection & PROT_READ ? 0 : -EINVAL;
    case MADV_POPULATE_WRITE: return area->protection & PROT_WRITE ? 0 : -EINVAL;
    case MADV_DONTNEED:
    case MADV_DONTNEED_LOCKED: return area->kind == AREA_SECRET ? discard(start, end, area->protection) : 0;
    case MADV_FREE: return area->kind == AREA_SECRET ? discard(start, end, area->protection) : -EINVAL;
    case MADV_REMOVE: return area->kind == AREA_SHARED_SECRET ? discard(start, end, area->protection) : -EINVAL;
    case MADV_NORMAL:
    case MADV_RANDOM:
    case MADV_SEQUENTIAL:
    case MADV_WILLNEED:
    case MADV_DONTFORK:
    case MADV_DOFORK:
    case MADV_MERGEABLE:
    case MADV_UNMERGEABLE:
    case MADV_HUGEPAGE:
    case MADV_NOHUGEPAGE:
    case MADV_DONTDUMP:
    case MADV_DODUMP:
    case MADV_COLD:
    case MADV_PAGEOUT:
    case MADV_COLLAPSE: return 0;
    default: return -EINVAL;
    }
}

/* Where nothing is mapped: populating ends there, other advice goes on and tells at the end. The kernel knows what is advice: it
 * says so of no memory at all. */
static long advise_hole(u64 start, int advice, long *told) {
    long error = SYS3(__NR_madvise, start, 0, advice);
    *told = -ENOMEM;
    return advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE ? -ENOMEM : error;
}

long memory_advise(u64 address, u64 length, int advice) {
    u64 end = address + page_up(length);
    if (address % PAGE || end < address || (length && end == address)) return -EINVAL;
    if (!areas_any(address, end) && !window_meets(address, end)) return SYS3(__NR_madvise, address, length, advice);
    long hole = 0; /* madvise(2) advises what is mapped and reports the hole at the end */
    while (address < end) {
        size_t next = areas_first_ending_after(address);
        u64 mapped = next < areas_count() ? min_u64(areas_get(next)->start, end) : end;
        if (mapped > address) {
            long error = advise_hole(address, advice, &hole);
            if (failed(error)) return error;
            address = mapped;
            continue;
        }
        struct area area = *areas_get(next);
        u64 stop = min_u64(area.end, end);
        bool secret = area.kind == AREA_SECRET || area.kind == AREA_SHARED_SECRET;
        long error = secret ? advise_secret(&area, address, stop, advice)
                            : SYS3(__NR_madvise, address, stop - address, advice);
        if (failed(error)) return error;
        address = stop;
    }
    return hole;
}

/* msync(2) of secret memory is EINVAL from the kernel; there is no file to write to. Of a hole it tells at the end. */
static long sync_shielded(const struct area *area, u64 start, u64 end, int flags) {
    return area->kind == AREA_SHARED_SECRET && shield_is_on() ? shield_sync_mapped(start, end - start, flags & MS_SYNC) : 0;
}

long memory_sync(u64 address, u64 length, int flags) {
    u64 end = address + page_up(length);
    if (address % PAGE || flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC)) return -EINVAL;
    if (flags & MS_ASYNC && flags & MS_SYNC) return -EINVAL;
    if (end < address || (!areas_any(address, end) && !window_meets(address, end))) return SYS3(__NR_msync, address, length, flags);
    long hole = 0;
    while (address < end) {
        size_t next = areas_first_ending_after(address);
        u64 mapped = next < areas_count() ? min_u64(areas_get(next)->start, end) : end;
        if (mapped > address) {
            hole = -ENOMEM;
            address = mapped;
            continue;
        }
        const struct area *area = areas_get(next);
        u64 stop = min_u64(area->end, end);
        bool secret = area->kind == AREA_SECRET || area->kind == AREA_SHARED_SECRET;
        long error = secret ? sync_shielded(area, address, stop, flags) : SYS3(__NR_msync, address, stop - address, flags);
        if (failed(error)) return error;
        address = stop;
    }
    return hole;
}

/* Where [address, end) of the window has its first hole; the kernel sees none there. */
static u64 mapped_until(u64 address, u64 end) {
    u64 stop = min_u64(end, window_end());
    while (address < stop) {
        const struct area *area = areas_find(address);
        if (!area) return address;
        address = area->end;
    }
    return end;
}

long memory_residency(u64 address, u64 length, u64 vector) {
    u64 end = address + page_up(length), from = max_u64(address, window_start());
    bool wrong = address % PAGE || end <= address || !window_meets(address, end);
    u64 known = wrong ? end : mapped_until(from, end);
    long result = known > address || wrong ? SYS3(__NR_mincore, address, min_u64(length, known - address), vector) : 0;
    return !failed(result) && known < end ? -ENOMEM : result;
}

long memory_start_break(void) {
    limits_begin();
    break_start = break_now = window_take(break_room);
    return break_start ? 0 : -ENOMEM;
}

u64 memory_break_rest(void) { return break_start + break_room - page_up(break_now); }

long memory_break(u64 address) {
    if (address < break_start || address > break_start + break_room) return (long)break_now;
    u64 old = page_up(break_now), new = page_up(address);
    long error = new > old && !limits_allow(new - old) ? -ENOMEM : 0;
    if (new > old && !failed(error)) error = window_protect(old, new - old, PROT_READ | PROT_WRITE);
    if (new < old) {
        error = window_release(new, old - new);
        window_take_at(new, old - new);
    }
    if (!failed(error)) break_now = address;
    return (long)break_now;
}
