#include <linux/mman.h>

#include "admission.h"
#include "limits.h"
#include "memory.h"

#include "../shield/shield.h"
#include "secret.h"
#include "state.h"
#include "window.h"

enum { KNOWN_PROTECTION = PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM | PROT_GROWSDOWN | PROT_GROWSUP };

static long unmap_outside(u64 start, u64 end) {
    if (start >= end) return 0;
    long error = SYS2(__NR_munmap, start, end - start);
    if (!failed(error)) areas_drop(start, end);
    return error;
}

static long unmap_inside(u64 start, u64 end) { return start < end ? window_release(start, end - start) : 0; }

long memory_unmap(u64 address, u64 length) {
    u64 end = address + page_up(length);
    if (address % PAGE || !length || end <= address) return -EINVAL;
    if (!areas_have_room(4)) return -ENOMEM;
    long error = unmap_outside(address, min_u64(end, window_start()));
    if (!failed(error)) error = unmap_inside(max_u64(address, window_start()), min_u64(end, window_end()));
    if (!failed(error)) error = unmap_outside(max_u64(address, window_end()), end);
    return error;
}

struct piece { /* struct iovec */
    u64 start, length;
};

/* Copies what a file mapping holds. The kernel copies, because pages behind the end of the file cannot be touched (SIGBUS);
 * they stay zero. One call moves less than 2 GiB. */
static long copy_mapped(u64 to, u64 from, u64 length) {
    for (u64 done = 0; done < length;) {
        struct piece source = {from + done, min_u64(length - done, 1UL << 30)}, target = {to + done, source.length};
        long n = SYS6(__NR_process_vm_readv, SYS0(__NR_gettid), &target, 1, &source, 1, 0);
        if (n == -EFAULT) return 0;
        if (failed(n)) return -EACCES;
        done += (u64)n;
    }
    return 0;
}

static long move_over(u64 at, u64 start, u64 end, int protection) {
    long error = SYS3(__NR_mprotect, at, end - start, protection);
    if (!failed(error)) error = SYS5(__NR_mremap, at, end - start, end - start, MREMAP_MAYMOVE | MREMAP_FIXED, start);
    return failed(error) ? error : 0;
}

/* Secret memory in the window belongs to its slot's inode, so the bytes move, not the mapping. */
static long copy_into_window(u64 at, u64 start, u64 end, int protection) {
    long error = window_release(start, end - start);
    if (failed(error)) return error;
    window_take_at(start, end - start);
    error = window_protect(start, end - start, PROT_READ | PROT_WRITE);
    if (failed(error)) return error;
    secret_copy(start, at, end - start, state.residency);
    SYS2(__NR_munmap, at, end - start);
    return window_protect(start, end - start, protection);
}

static long copy_out(const struct area *area, u64 start, u64 end, u64 at) {
    if (area->untouched) return 0;
    long error = SYS3(__NR_mprotect, start, end - start, PROT_READ);
    if (failed(error)) return error;
    if (area->kind != AREA_SECRET) return copy_mapped(at, start, end - start);
    secret_copy(at, start, end - start, state.residency);
    return 0;
}

/* Fills `at` with the bytes of [start, end) and puts it, or its bytes, in their place with `protection`. */
static long take_place(const struct area *area, u64 start, u64 end, u64 at, int protection) {
    long error = copy_out(area, start, end, at);
    bool to_window = in_window(start) && !(protection & PROT_EXEC);
    if (!failed(error))
        error = to_window ? copy_into_window(at, start, end, protection) : move_over(at, start, end, protection);
    if (failed(error)) SYS3(__NR_mprotect, start, end - start, area->protection);
    return error;
}

/* Memory that changes its kind: what was mapped to be read and is to be written becomes the private copy that the kernel would
 * make on write, made now; what is to be executed becomes ordinary memory, which is counted, for secret memory cannot be. */
static long become(const struct area *area, u64 start, u64 end, int protection) {
    bool jit = protection & PROT_EXEC;
    int accessible = PROT_READ | PROT_WRITE;
    long at = jit ? SYS6(__NR_mmap, 0, end - start, accessible, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                  : secret_map(0, end - start, accessible, 0);
    if (failed(at)) return at;
    long error = take_place(area, start, end, (u64)at, protection);
    if (failed(error)) {
        SYS2(__NR_munmap, at, end - start);
        return error;
    }
    state.counters.jit += jit;
    areas_put(start, end, jit ? AREA_JIT : AREA_SECRET, protection);
    return 0;
}

/* The main stack never becomes ordinary memory, even if a library asks for an executable one. */
static bool holds_stack(u64 start, u64 end) { return start < state.stack_end && end > state.stack_start; }

static long protect_area(const struct area *area, u64 start, u64 end, int protection) {
    bool copied_on_write = area->kind == AREA_SEALED || area->kind == AREA_PRIVATE_FILE;
    if (shield_is_on() && protection & PROT_WRITE && shield_is_read_only(start, end - start)) return -EACCES;
    if (area->kind == AREA_SECRET && protection & PROT_EXEC)
        return holds_stack(start, end) ? -EACCES : become(area, start, end, protection);
    if (copied_on_write && protection & PROT_WRITE) return become(area, start, end, protection);
    if (area->kind == AREA_SECRET && in_window(start)) return window_protect(start, end - start, protection);
    long error = SYS3(__NR_mprotect, start, end - start, protection);
    if (failed(error)) return error;
    if (area->kind == AREA_FILE && protection & PROT_WRITE) {
        state.counters.open_files++;
        areas_put(start, end, AREA_OPEN_FILE, protection);
    } else areas_protect(start, end, protection);
    return 0;
}

/* In a strict enclave: what was measured stands in sealed areas; what can be executed already was mapped from a measured file. */
static bool may_be_code(u64 address, u64 end, int protection) {
    if (!(protection & PROT_EXEC) || admission_allows_jit()) return true;
    bool allowed = !(protection & PROT_WRITE) && areas_cover(address, end);
    for (size_t i = areas_first_ending_after(address); allowed && i < areas_count() && areas_get(i)->start < end; i++)
        allowed = areas_get(i)->kind == AREA_SEALED || areas_get(i)->protection & PROT_EXEC;
    if (!allowed) admission_say_refused(-1);
    return allowed;
}

/* Goes area by area, as mprotect(2) goes from mapping to mapping: an error leaves the earlier ones changed. */
long memory_protect(u64 address, u64 length, int protection) {
    u64 end = address + page_up(length);
    if (address % PAGE || protection & ~KNOWN_PROTECTION) return -EINVAL;
    if (end < address || (length && end == address)) return -ENOMEM;
    protection &= PROT_READ | PROT_WRITE | PROT_EXEC;
    if (!areas_have_room(4)) return -ENOMEM;
    if (!may_be_code(address, end, protection)) return -EACCES;
    if (!areas_any(address, end) && !window_meets(address, end)) return SYS3(__NR_mprotect, address, length, protection);
    while (address < end) {
        const struct area *found = areas_find(address);
        if (!found) return -ENOMEM;
        struct area area = *found;
        u64 stop = min_u64(area.end, end);
        long error = protect_area(&area, address, stop, protection);
        if (failed(error)) return error;
        address = stop;
    }
    return 0;
}

/* Memory at an address of the program's own choice grows by an inode more. */
static long grow_outside(u64 old, u64 old_end, u64 more, int protection) {
    long at = secret_map(old_end, more, protection, MAP_FIXED_NOREPLACE);
    if (failed(at)) return -ENOMEM;
    areas_put(old_end, old_end + more, AREA_SECRET, protection);
    return (long)old;
}

static long grow_in_place(u64 old, u64 old_end, u64 more, int protection) {
    if (!in_window(old)) return grow_outside(old, old_end, more, protection);
    if (old_end + more > window_end() || areas_any(old_end, old_end + more)) return -ENOMEM;
    window_take_at(old_end, more);
    long error = window_protect(old_end, more, protection);
    return failed(error) ? error : (long)old;
}

/* What the model calls writable stays so, for the wiping that follows counts on it. */
static bool copy_existing(const struct area *area, u64 to, u64 from, u64 length) {
    if (area->untouched) return true;
    if (!(area->protection & PROT_READ) && failed(SYS3(__NR_mprotect, from, length, PROT_READ))) return false;
    secret_copy(to, from, length, state.residency);
    return true;
}

/* Moves by copying the pages that exist: pages of an extent cannot leave their place in its inode. */
static long move_secret(const struct area *area, u64 old, u64 old_length, u64 new_length, u64 target) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | (target ? MAP_FIXED : 0);
    int protection = area->protection, while_copied = area->untouched ? PROT_NONE : PROT_READ | PROT_WRITE;
    long at = memory_map(target, new_length, while_copied, flags, -1, 0);
    if (failed(at)) return at;
    if (!copy_existing(area, (u64)at, old, min_u64(old_length, new_length))) return -EFAULT;
    long error = memory_unmap(old, old_length);
    if (!failed(error) && protection != while_copied) error = memory_protect((u64)at, new_length, protection);
    return failed(error) ? error : at;
}

/* What the kernel has already unmapped is given up in the model; the window gets clean memory in its place. */
static long given_up(u64 start, u64 end) {
    if (start >= end) return 0;
    if (in_window(start)) return window_release(start, end - start);
    areas_drop(start, end);
    return 0;
}

static long move_native(const struct area *area, u64 old, u64 old_length, u64 new_length, int flags, u64 target) {
    struct area moved = *area;
    long error = flags & MREMAP_FIXED ? memory_unmap(target, new_length) : 0;
    long at = failed(error) ? error : SYS5(__NR_mremap, old, old_length, new_length, flags, target);
    if (failed(at)) return at;
    u64 kept = (u64)at == old ? min_u64(old_length, new_length) : 0;
    areas_put((u64)at, (u64)at + new_length, moved.kind, moved.protection); /* before: an extent that seems empty is given back */
    error = given_up(old + kept, old + old_length);
    return failed(error) ? error : at;
}

long memory_remap(u64 old, u64 old_length, u64 new_length, int flags, u64 target) {
    old_length = page_up(old_length);
    new_length = page_up(new_length);
    const struct area *found = areas_find(old);
    bool fixed = flags & MREMAP_FIXED;
    if (old % PAGE || !new_length || flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED)) return -EINVAL;
    if (fixed && (target % PAGE || !(flags & MREMAP_MAYMOVE))) return -EINVAL;
    if (!found || !old_length) return found ? -EINVAL : -EFAULT;
    if (!areas_have_room(4) || old_length > ADDRESS_LIMIT || new_length > ADDRESS_LIMIT) return -ENOMEM;
    struct area area = *found;
    if (area.end < old + old_length) return -EFAULT;
    if (new_length > old_length && !limits_allow(new_length - old_length)) return -ENOMEM;
    if (fixed && target < old + old_length && old < target + new_length) return -EINVAL;
    if (fixed && window_cut(target, target + new_length)) return -ENOMEM;
    if (area.kind != AREA_SECRET) return move_native(&area, old, old_length, new_length, flags, target);
    if (fixed) return move_secret(&area, old, old_length, new_length, target);
    if (new_length <= old_length) {
        long error = new_length < old_length ? memory_unmap(old + new_length, old_length - new_length) : 0;
        return failed(error) ? error : (long)old;
    }
    long at = grow_in_place(old, old + old_length, new_length - old_length, area.protection);
    if (at != -ENOMEM || !(flags & MREMAP_MAYMOVE)) return at;
    return move_secret(&area, old, old_length, new_length, 0);
}
