#include "patch.h"

#include "opening.h"
#include "state.h"

extern const char rt_direct_entry[];

enum { STUB_SIZE = 32, SITE_SIZE = 7, STUBS_MAX = PAGE / STUB_SIZE - 1, STRIDE = 32 };

/* Calls that only the runtime can answer and that programs make often; none of them blocks. */
static bool worth_patching(u32 number) {
    switch (number) {
    case __NR_mmap:
    case __NR_mprotect:
    case __NR_munmap:
    case __NR_brk:
    case __NR_mremap:
    case __NR_madvise:
    case __NR_rt_sigaction:
    case __NR_rt_sigprocmask:
    case __NR_execve:
    case __NR_dup2:
    case __NR_dup3:
    case __NR_close_range:
        return true;
    case __NR_open:
    case __NR_openat: return opening_is_watched();
    case __NR_stat:
    case __NR_lstat:
    case __NR_newfstatat:
    case __NR_statx:
    case __NR_access:
    case __NR_faccessat:
    case __NR_faccessat2: return state.files_watched;
    default:
        return false;
    }
}

static void put_u32(u8 *at, u64 value) { memcpy(at, &value, 4); }

/* lea -128(%rsp),%rsp / mov $number,%eax / call *entry(%rip) / lea 128(%rsp),%rsp / jmp back. The red zone is the caller's. */
static void write_stub(u8 *stub, u64 stub_from_base, u64 entry_from_base, u32 number, u64 back_from_base) {
    static const u8 code[] = {0x48, 0x8d, 0x64, 0x24, 0x80, 0xb8, 0, 0, 0, 0, 0xff, 0x15, 0,   0, 0,
                              0,    0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0, 0xe9, 0,   0,    0, 0};
    memcpy(stub, code, sizeof code);
    put_u32(stub + 6, number);
    put_u32(stub + 12, entry_from_base - (stub_from_base + 16));
    put_u32(stub + 25, back_from_base - (stub_from_base + 29));
}

static void patch_one(struct patch_target *target, u64 offset, u32 number) {
    u64 stub_offset = (target->used + 1) * STUB_SIZE; /* the first place holds the entry's address */
    u8 *site = ptr_of(target->text + offset);
    u64 site_from_base = target->text_from_base + offset;
    u64 stub_from_base = target->stubs_from_base + stub_offset;
    write_stub(ptr_of(target->stubs + stub_offset), stub_from_base, target->stubs_from_base, number,
               site_from_base + SITE_SIZE);
    site[0] = 0xe9;
    put_u32(site + 1, stub_from_base - (site_from_base + 5));
    site[5] = site[6] = 0x90;
    target->used++;
    state.counters.patched++;
}

typedef u64 __attribute__((may_alias, aligned(1))) loose_word;

/* Not zero if one of the 8 bytes ends a `syscall` (0f 05): then it is zero after the exclusive or, and so is the one before it in the
 * word that begins a byte earlier. The rest is the usual test for a zero byte. */
static u64 syscall_ends(const u8 *at) {
    u64 word = (*(const loose_word *)at ^ 0x0505050505050505UL) | (*(const loose_word *)(at - 1) ^ 0x0f0f0f0f0f0f0f0fUL);
    return (word - 0x0101010101010101UL) & ~word & 0x8080808080808080UL;
}

/* Four words at once: texts are megabytes, and hardly any of their bytes are system calls. */
static bool may_hold_syscall(const u8 *at) {
    return (syscall_ends(at) | syscall_ends(at + 8) | syscall_ends(at + 16) | syscall_ends(at + 24)) != 0;
}

static u32 number_of(const u8 *end) {
    u32 number;
    memcpy(&number, end - 6, sizeof number);
    return number;
}

/* `mov $number, %eax; syscall` that ends at `end`. */
static bool is_site(const u8 *end) {
    return end[-1] == 0x05 && end[-2] == 0x0f && end[-7] == 0xb8 && worth_patching(number_of(end));
}

/* The sites that end in [from, to]. */
static void patch_between(struct patch_target *target, u64 from, u64 to) {
    const u8 *text = ptr_of(target->text);
    for (u64 end = max_u64(from, SITE_SIZE); end <= to && target->used < STUBS_MAX; end++)
        if (is_site(text + end)) patch_one(target, end - SITE_SIZE, number_of(text + end));
}

void patch_sites(struct patch_target *target) {
    const u8 *text = ptr_of(target->text);
    u64 entry = addr_of(rt_direct_entry), at = min_u64(STRIDE, target->length);
    memcpy(ptr_of(target->stubs), &entry, sizeof entry);
    patch_between(target, 0, at);
    for (; at + STRIDE <= target->length; at += STRIDE)
        if (may_hold_syscall(text + at)) patch_between(target, at + 1, at + STRIDE);
    patch_between(target, at + 1, target->length);
}

static bool site_is_right(const struct patch_target *target, u64 offset, u32 number) {
    const u8 *site = ptr_of(target->text + offset);
    u64 site_from_base = target->text_from_base + offset;
    int distance;
    memcpy(&distance, site + 1, sizeof distance);
    u64 stub_from_base = site_from_base + 5 + (u64)(long)distance, stub_offset = stub_from_base - target->stubs_from_base;
    if (site[0] != 0xe9 || site[5] != 0x90 || site[6] != 0x90) return false;
    if (stub_offset == 0 || stub_offset >= PAGE || stub_offset % STUB_SIZE) return false;
    u8 expected[STUB_SIZE] = {0};
    write_stub(expected, stub_from_base, target->stubs_from_base, number, site_from_base + SITE_SIZE);
    return memcmp(expected, ptr_of(target->stubs + stub_offset), STUB_SIZE) == 0;
}

bool patch_is_right(struct patch_target *target, const u8 *source, u64 *offset) {
    u64 first = *offset < SITE_SIZE ? 0 : *offset - (SITE_SIZE - 1);
    for (u64 site = first; site <= *offset && site + SITE_SIZE <= target->length; site++) {
        const u8 *end = source + site + SITE_SIZE;
        if (!is_site(end)) continue;
        *offset = site + SITE_SIZE;
        target->used++;
        return site_is_right(target, site, number_of(end));
    }
    return false;
}

bool patch_stubs_are_right(const u8 *stubs, u64 used) {
    u64 entry, known = (used + 1) * STUB_SIZE;
    memcpy(&entry, stubs, sizeof entry);
    if (entry != addr_of(rt_direct_entry) && (entry || used)) return false; /* a file without text has none */
    for (u64 i = sizeof entry; i < PAGE; i++)
        if (stubs[i] && (i < STUB_SIZE || i >= known)) return false;
    return true;
}
