#include "patch.h"

#include <linux/futex.h>

#include "../shield/calls.h"
#include "../shield/shield.h"
#include "opening.h"
#include "state.h"

extern const char rt_direct_entry[];

enum { SHIELDED_ROOM = 4 * 4096 };
enum { STUB_SIZE = 40, STUBS_MAX = SHIELDED_ROOM / STUB_SIZE - 1, STRIDE = 32, NUMBER_SIZE = 5, LEA_SIZE = 7, CALL_SIZE = 2, JUMP_SIZE = 5, READ_SIZE = 10,
       READ_CALL = 4 /* of which up to the end of `syscall` */ };

enum form {
    PLAIN, /* `mov $number,%eax; syscall` */
    APART, /* the same with a `lea` between the two, which then stands first */
    LAST,  /* how compilers write `for (;;) exit(0)`, with which threads end: `mov $60,%edx`, padding, then a loop of `xor %edi,%edi;
            * mov %edx,%eax; syscall; jmp`; what is replaced is the loop */
    FUTEX, /* `mov $futex,%eax; syscall`, of which the second stays: private ones are the kernel's, and a thread that waits there stands
            * where the program's own tables say how to unwind it (pthread_cancel) */
    READ,  /* `xor %eax,%eax; syscall; cmp $-4096,%rax`: too short without the comparison, which is made in the stub */
};

static const u8 site_size[] = {
    [PLAIN] = NUMBER_SIZE + CALL_SIZE, [APART] = NUMBER_SIZE + LEA_SIZE + CALL_SIZE, [LAST] = 8, [FUTEX] = NUMBER_SIZE,
                               [READ] = READ_SIZE};
static const u8 jump_at[] = {[PLAIN] = 0, [APART] = LEA_SIZE, [LAST] = 0, [FUTEX] = 0, [READ] = 0}; /* in the site */

enum { SITE_MOST = NUMBER_SIZE + LEA_SIZE + CALL_SIZE /* 14 */ };

struct site {
    u64 offset; /* in the text */
    u32 number;
    enum form form;
};

/* Calls that only the runtime can answer and that programs make often; none of them blocks. */
static bool worth_patching(u32 number) {
    if (shield_is_on() && shield_rule(number)) return true;
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
    case __NR_readlink:
    case __NR_readlinkat:
    case __NR_exit:
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

static u32 get_u32(const u8 *at) {
    u32 value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* lea -128(%rsp),%rsp / mov $number,%eax / call *entry(%rip) / lea 128(%rsp),%rsp / jmp back. The red zone is the caller's. */
static void write_stub(u8 *stub, u64 stub_from_base, u64 entry_from_base, u32 number, u64 back_from_base) {
    static const u8 code[] = {0x48, 0x8d, 0x64, 0x24, 0x80, 0xb8, 0, 0, 0, 0, 0xff, 0x15, 0,   0, 0,
                              0,    0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0, 0xe9, 0,   0,    0, 0};
    memcpy(stub, code, sizeof code);
    put_u32(stub + 6, number);
    put_u32(stub + 12, entry_from_base - (stub_from_base + 16));
    put_u32(stub + 25, back_from_base - (stub_from_base + 29));
}

/* xor %edi,%edi / lea -128(%rsp),%rsp / mov $exit,%eax / call *entry(%rip) / hlt */
static void write_last_stub(u8 *stub, u64 stub_from_base, u64 entry_from_base) {
    static const u8 code[] = {0x31, 0xff, 0x48, 0x8d, 0x64, 0x24, 0x80, 0xb8, __NR_exit, 0, 0, 0, 0xff, 0x15, 0, 0, 0, 0, 0xf4};
    memcpy(stub, code, sizeof code);
    put_u32(stub + 14, entry_from_base - (stub_from_base + 18));
}

/* test %sil,%sil / mov $futex,%eax / js to the syscall / lea -128(%rsp),%rsp / call *entry(%rip) / lea 128(%rsp),%rsp / jmp behind it.
 * FUTEX_PRIVATE_FLAG is the sign of the operation's low byte. */
static void write_futex_stub(u8 *stub, u64 stub_from_base, u64 entry_from_base, u64 syscall_from_base) {
    static const u8 code[] = {0x40, 0x84, 0xf6, 0xb8, __NR_futex, 0, 0, 0, 0x0f, 0x88, 0, 0, 0, 0, 0x48, 0x8d, 0x64, 0x24, 0x80,
                              0xff, 0x15, 0, 0, 0, 0, 0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0, 0xe9, 0, 0, 0, 0};
    memcpy(stub, code, sizeof code);
    put_u32(stub + 10, syscall_from_base - (stub_from_base + 14));
    put_u32(stub + 21, entry_from_base - (stub_from_base + 25));
    put_u32(stub + 34, syscall_from_base + CALL_SIZE - (stub_from_base + 38));
}

/* lea -128(%rsp),%rsp / mov $read,%eax / call *entry(%rip) / lea 128(%rsp),%rsp / cmp $-4096,%rax / jmp behind */
static void write_read_stub(u8 *stub, u64 stub_from_base, u64 entry_from_base, u64 back_from_base) {
    static const u8 code[] = {0x48, 0x8d, 0x64, 0x24, 0x80, 0xb8, 0, 0, 0, 0, 0xff, 0x15, 0, 0, 0, 0, 0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0,
                              0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff, 0xe9, 0, 0, 0, 0};
    memcpy(stub, code, sizeof code);
    put_u32(stub + 12, entry_from_base - (stub_from_base + 16));
    put_u32(stub + 31, back_from_base - (stub_from_base + 35));
}

static void write_stub_for(const struct patch_target *target, const struct site *site, u8 *stub, u64 stub_from_base) {
    u64 back = target->text_from_base + site->offset + site_size[site->form];
    if (site->form == LAST) write_last_stub(stub, stub_from_base, target->stubs_from_base);
    else if (site->form == FUTEX) write_futex_stub(stub, stub_from_base, target->stubs_from_base, back);
    else if (site->form == READ) write_read_stub(stub, stub_from_base, target->stubs_from_base, back);
    else write_stub(stub, stub_from_base, target->stubs_from_base, site->number, back);
}

static bool is_relative(const u8 *lea) { return (lea[2] & 0xc7) == 0x05; } /* to the address of what follows it */

/* What takes the place of `source`, the site as it is. */
static void write_site(const struct patch_target *target, const struct site *site, const u8 *source, u8 *to, u64 stub_from_base) {
    u64 jump = jump_at[site->form];
    memset(to, 0x90, site_size[site->form]);
    if (site->form == APART) {
        memcpy(to, source + NUMBER_SIZE, LEA_SIZE);
        if (is_relative(to)) put_u32(to + 3, get_u32(to + 3) + NUMBER_SIZE);
    }
    to[jump] = 0xe9;
    put_u32(to + jump + 1, stub_from_base - (target->text_from_base + site->offset + jump + JUMP_SIZE));
}

static void patch_one(struct patch_target *target, const struct site *site) {
    u64 stub_offset = (target->used + 1) * STUB_SIZE; /* the first place holds the entry's address */
    u8 *at = ptr_of(target->text + site->offset), patched[SITE_MOST];
    u64 stub_from_base = target->stubs_from_base + stub_offset;
    write_stub_for(target, site, ptr_of(target->stubs + stub_offset), stub_from_base);
    write_site(target, site, at, patched, stub_from_base);
    memcpy(at, patched, site_size[site->form]);
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

/* Whether [at, end) is one of the instructions that fill up to where a loop begins. */
static bool is_padding(const u8 *at, u64 length) {
    static const u8 nops[][9] = {{0x90}, {0x66, 0x90}, {0x0f, 0x1f, 0x00}, {0x0f, 0x1f, 0x40}, {0x0f, 0x1f, 0x44}, {0x66, 0x0f, 0x1f, 0x44},
                                 {0x0f, 0x1f, 0x80}, {0x0f, 0x1f, 0x84}, {0x66, 0x0f, 0x1f, 0x84}};
    return !length || (length <= sizeof nops / sizeof nops[0] && memcmp(at, nops[length - 1], length) == 0);
}

enum { LOOP_CALL = 6 }; /* bytes of the loop up to the end of its `syscall` */

/* Whether the loop's `syscall` ends at `end`, of a text of which `before` bytes and those of `jmp` are there. */
static bool is_last(const u8 *end, u64 before) {
    static const u8 loop[] = {0x31, 0xff, 0x89, 0xd0, 0x0f, 0x05, 0xeb, 0xf8}, number[NUMBER_SIZE] = {0xba, __NR_exit, 0, 0, 0};
    if (before < LOOP_CALL + sizeof number || memcmp(end - LOOP_CALL, loop, sizeof loop) != 0) return false;
    const u8 *start = end - LOOP_CALL;
    for (u64 gap = 0; gap <= 9 && before - LOOP_CALL >= gap + sizeof number; gap++)
        if (memcmp(start - gap - sizeof number, number, sizeof number) == 0) return is_padding(start - gap, gap);
    return false;
}

/* Seven bytes: of a register and 32 bits, or relative; nothing to do with %rax, which holds the number, or %rsp. */
static bool is_lea(const u8 *at) {
    u8 mode = at[2] >> 6, to = at[2] >> 3 & 7, base = at[2] & 7;
    bool plain = mode == 2 && base != 0 && base != 4;
    return at[0] == 0x48 && at[1] == 0x8d && to != 0 && to != 4 && (plain || is_relative(at));
}

enum { NEAR = 4096 };

/* Whether bytes nearby could be a jump to this place: an instruction that is moved must not be one that others lead to. */
static bool may_be_jumped_to(const u8 *text, u64 place, u64 length) {
    u64 from = place > NEAR ? place - NEAR : 0, to = min_u64(place + NEAR, length);
    for (u64 at = from; at + 2 <= to; at++) {
        u8 code = text[at];
        bool is_short = (code & 0xf0) == 0x70 || code == 0xeb;
        if (is_short && at + 2 + (u64)(long)(signed char)text[at + 1] == place) return true;
        bool is_long = code == 0xe9 || (at > 0 && text[at - 1] == 0x0f && (code & 0xf0) == 0x80);
        if (is_long && at + 5 <= to && at + 5 + (u64)(long)(int)get_u32(text + at + 1) == place) return true;
    }
    return false;
}

static bool is_moved_alone(const u8 *text, u64 offset, u64 length) {
    return !may_be_jumped_to(text, offset + NUMBER_SIZE, length) &&
           !may_be_jumped_to(text, offset + NUMBER_SIZE + LEA_SIZE, length);
}

static bool is_number(const u8 *at, struct site *site) {
    site->number = get_u32(at + 1);
    return at[0] == 0xb8 && worth_patching(site->number);
}

/* Those that are always private (`mov $operation,%esi` just before) are left alone. */
static bool is_shared_futex(const u8 *text, u64 offset) {
    const u8 *at = text + offset;
    if (at[0] != 0xb8 || get_u32(at + 1) != __NR_futex) return false;
    return offset < NUMBER_SIZE || at[-5] != 0xbe || !(get_u32(at - 4) & FUTEX_PRIVATE_FLAG);
}

/* Nothing may lead to the `syscall` or to the comparison behind it. */
static bool is_read(const u8 *text, u64 end, u64 length) {
    static const u8 code[READ_SIZE] = {0x31, 0xc0, 0x0f, 0x05, 0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff};
    if (end < READ_CALL || end - READ_CALL + READ_SIZE > length || memcmp(text + end - READ_CALL, code, sizeof code)) return false;
    return worth_patching(__NR_read) && !may_be_jumped_to(text, end, length) && !may_be_jumped_to(text, end - CALL_SIZE, length);
}

/* Whether a site's `syscall` ends `end` bytes from the start of a text of `length` bytes. */
static bool find_site(const u8 *text, u64 end, u64 length, struct site *site) {
    const u8 *at = text + end;
    if (end < READ_CALL || at[-1] != 0x05 || at[-2] != 0x0f) return false;
    if (is_read(text, end, length)) {
        *site = (struct site){.offset = end - READ_CALL, .number = __NR_read, .form = READ};
        return true;
    }
    if (end < NUMBER_SIZE + CALL_SIZE) return false;
    *site = (struct site){.offset = end - site_size[PLAIN], .form = PLAIN};
    if (is_number(text + site->offset, site)) return true;
    if (is_shared_futex(text, site->offset)) {
        site->form = FUTEX;
        return true;
    }
    if (end >= site_size[APART] && is_lea(at - CALL_SIZE - LEA_SIZE)) {
        *site = (struct site){.offset = end - site_size[APART], .form = APART};
        if (is_number(text + site->offset, site)) return is_moved_alone(text, site->offset, length);
    }
    *site = (struct site){.offset = end - LOOP_CALL, .number = __NR_exit, .form = LAST};
    return end + 2 <= length && is_last(at, end);
}

u64 patch_room(void) { return shield_is_on() ? SHIELDED_ROOM : PAGE; }

static u64 most_stubs(void) { return patch_room() / STUB_SIZE - 1; }

struct found {
    u64 count;
    struct site site[STUBS_MAX];
};

/* The sites that end in [from, to]. */
static void find_between(const struct patch_target *target, u64 from, u64 to, struct found *found) {
    const u8 *text = ptr_of(target->text);
    for (u64 end = from; end <= to && target->used + found->count < most_stubs(); end++)
        found->count += find_site(text, end, target->length, &found->site[found->count]);
}

/* All are found before any is patched, so that whoever checks the result against the source finds the same. */
void patch_sites(struct patch_target *target) {
    const u8 *text = ptr_of(target->text);
    u64 entry = addr_of(rt_direct_entry), at = min_u64(STRIDE, target->length);
    struct found found;
    found.count = 0; /* the rest is not touched */
    memcpy(ptr_of(target->stubs), &entry, sizeof entry);
    find_between(target, 0, at, &found);
    for (; at + STRIDE <= target->length; at += STRIDE)
        if (may_hold_syscall(text + at)) find_between(target, at + 1, at + STRIDE, &found);
    find_between(target, at + 1, target->length, &found);
    for (u64 i = 0; i < found.count; i++) patch_one(target, &found.site[i]);
}

static bool site_is_right(const struct patch_target *target, const struct site *site, const u8 *source) {
    const u8 *at = ptr_of(target->text + site->offset);
    u64 jump = jump_at[site->form], jump_end = target->text_from_base + site->offset + jump + JUMP_SIZE;
    u64 stub_from_base = jump_end + (u64)(long)(int)get_u32(at + jump + 1), stub_offset = stub_from_base - target->stubs_from_base;
    if (stub_offset == 0 || stub_offset >= patch_room() || stub_offset % STUB_SIZE) return false;
    u8 site_expected[SITE_MOST], stub_expected[STUB_SIZE] = {0};
    write_site(target, site, source + site->offset, site_expected, stub_from_base);
    write_stub_for(target, site, stub_expected, stub_from_base);
    return memcmp(site_expected, at, site_size[site->form]) == 0 &&
           memcmp(stub_expected, ptr_of(target->stubs + stub_offset), STUB_SIZE) == 0;
}

bool patch_is_right(struct patch_target *target, const u8 *source, u64 *offset) {
    struct site site;
    u64 last = min_u64(*offset + SITE_MOST, target->length); /* a site that begins at or before *offset has its end here at most */
    for (u64 end = *offset + 1; end <= last; end++) {
        if (!find_site(source, end, target->length, &site)) continue;
        if (site.offset > *offset || site.offset + site_size[site.form] <= *offset) continue;
        *offset = site.offset + site_size[site.form];
        target->used++;
        return site_is_right(target, &site, source);
    }
    return false;
}

bool patch_stubs_are_right(const u8 *stubs, u64 used) {
    u64 entry, known = (used + 1) * STUB_SIZE;
    memcpy(&entry, stubs, sizeof entry);
    if (entry != addr_of(rt_direct_entry) && (entry || used)) return false; /* a file without text has none */
    for (u64 i = sizeof entry; i < patch_room(); i++)
        if (stubs[i] && (i < STUB_SIZE || i >= known)) return false;
    return true;
}
