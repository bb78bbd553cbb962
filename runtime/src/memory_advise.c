#include <linux/mman.h>

#include "memory.h"
#include "secret.h"
#include "state.h"
#include "window.h"

/* Room for the heap; it costs address space only. */
static const u64 break_room = 1UL << 36;
static u64 break_start, break_now;

/* "The next access sees zeroes": the pages themselves cannot be given back one by one. */
static long discard(u64 start, u64 end, int protection) {
    int writable = PROT_READ | PROT_WRITE;
    if (protection == PROT_NONE && in_window(start) && !slot_is_backed((start - window_start()) / SLOT_SIZE)) return 0;
    if (protection != writable && failed(SYS3(__NR_mprotect, start, end - start, writable))) return -EINVAL;
    secret_wipe(start, end - start, state.residency);
    if (protection != writable) return SYS3(__NR_mprotect, start, end - start, protection);
    return 0;
}

/* Advice that secret memory cannot follow and that changes nothing a program could see is taken and ignored. */
static long advise_secret(const struct area *area, u64 start, u64 end, int advice) {
    switch (advice) {
    case MADV_DONTNEED:
    case MADV_FREE:
        return area->kind == AREA_SECRET ? discard(start, end, area->protection) : 0;
    case MADV_REMOVE:
        return area->kind == AREA_SHARED_SECRET ? discard(start, end, area->protection) : -EINVAL;
    case MADV_WIPEONFORK: /* would need a copy at fork that is not one; libraries fall back to a pid check */
    case MADV_KEEPONFORK:
        return -EINVAL;
    default:
        return 0;
    }
}

long memory_advise(u64 address, u64 length, int advice) {
    u64 end = address + page_up(length);
    if (address % PAGE || end < address) return -EINVAL;
    while (address < end) {
        const struct area *found = areas_find(address);
        if (!found) return window_meets(address, end) ? -ENOMEM : SYS3(__NR_madvise, address, end - address, advice);
        struct area area = *found;
        u64 stop = min_u64(area.end, end);
        bool secret = area.kind == AREA_SECRET || area.kind == AREA_SHARED_SECRET;
        long error = secret ? advise_secret(&area, address, stop, advice)
                            : SYS3(__NR_madvise, address, stop - address, advice);
        if (failed(error)) return error;
        address = stop;
    }
    return 0;
}

/* msync(2) of secret memory is EINVAL from the kernel; there is no file to write to. */
long memory_sync(u64 address, u64 length, int flags) {
    if (address % PAGE || flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC)) return -EINVAL;
    const struct area *area = areas_find(address);
    bool secret = area && (area->kind == AREA_SECRET || area->kind == AREA_SHARED_SECRET);
    return secret ? 0 : SYS3(__NR_msync, address, length, flags);
}

long memory_start_break(void) {
    break_start = break_now = window_take(break_room);
    return break_start ? 0 : -ENOMEM;
}

long memory_break(u64 address) {
    if (address < break_start || address > break_start + break_room) return (long)break_now;
    u64 old = page_up(break_now), new = page_up(address);
    long error = 0;
    if (new > old) error = window_protect(old, new - old, PROT_READ | PROT_WRITE);
    if (new < old) {
        secret_wipe(new, old - new, state.residency);
        error = window_protect(new, old - new, PROT_NONE);
    }
    if (!failed(error)) break_now = address;
    return (long)break_now;
}
