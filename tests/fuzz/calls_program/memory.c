/* Memory calls inside the arena. `site` (the last number) says whether libc's own call site is used, which the runtime may have
 * patched, or syscall(2), which it cannot know. */
#define _GNU_SOURCE
#include "calls.h"

#include <sys/shm.h>


static long call_mmap(long site, void *to, size_t size, int protection, int flags, int fd, long offset) {
    if (site % 2) return outcome((long)mmap(to, size, protection, flags, fd, offset));
    return outcome(syscall(SYS_mmap, to, size, protection, flags, fd, offset));
}

static void note_place(long result) {
    if (result < 0 && result > -4096) note(" error %ld", -result);
    else if ((char *)result >= here->arena && (char *)result < here->arena + (size_t)PAGES * PAGE)
        note(" at %ld", ((char *)result - here->arena) / PAGE);
    else note(" elsewhere");
}

int any_kind(unsigned first, unsigned count, enum kind kind) {
    for (unsigned i = first; i < first + count; i++)
        if (here->page[i].kind == kind) return 1;
    return 0;
}

int is_mapped(unsigned first, unsigned count) { return !any_kind(first, count, NOTHING); }

static void set_pages(unsigned first, unsigned count, struct page value) {
    for (unsigned i = first; i < first + count; i++) here->page[i] = value;
}

/* What was one mapping still is, in this range, but not with its neighbours outside. */
static void split(unsigned first, unsigned count) {
    unsigned old = 0;
    for (unsigned i = first; i < first + count; i++) {
        if (here->page[i].origin != old) here->origins++;
        old = here->page[i].origin;
        here->page[i].origin = here->origins;
    }
    if (first + count < PAGES && here->page[first + count].origin == old) {
        here->origins++;
        for (unsigned i = first + count; i < PAGES && here->page[i].origin == old; i++) here->page[i].origin = here->origins;
    }
}

/* Bytes that are not a multiple of the page, but end in the last page. */
static size_t size_of(unsigned count, long odd) { return (size_t)count * PAGE - (odd % 3 ? 0 : (size_t)(odd % PAGE)); }

static int some_protection(long a) {
    static const int choices[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE,
                                  PROT_WRITE, PROT_READ | PROT_EXEC, PROT_READ | PROT_WRITE | PROT_EXEC};
    return PICK(choices, a); /* PROT_EXEC alone: whether that can be read depends on the processor */
}

struct source {
    int flags, fd;
    enum kind kind;
};

static struct source some_source(long a) {
    static const struct source sources[] = {
        {MAP_PRIVATE | MAP_ANONYMOUS, -1, PRIVATE}, {MAP_PRIVATE | MAP_ANONYMOUS, -1, PRIVATE}, {MAP_SHARED | MAP_ANONYMOUS, -1, SHARED},
        {MAP_PRIVATE, CONSTANT_FILE, COPY},         {MAP_SHARED, SHARED_FILE, OF_FILE},         {MAP_SHARED, CONSTANT_FILE, OF_FILE},
        {MAP_PRIVATE, WRITE_ONLY_FILE, COPY},       {MAP_SHARED, WRITE_ONLY_FILE, OF_FILE},     {MAP_PRIVATE, DIRECTORY, COPY},
        {MAP_PRIVATE, LOOK_READ, COPY},             {MAP_PRIVATE, 777, COPY},                   {MAP_SHARED_VALIDATE, SHARED_FILE, OF_FILE},
    };
    return PICK(sources, a);
}

static void op_map(const long *a) {
    static const int more[] = {0, 0, 0, MAP_POPULATE, MAP_NORESERVE, MAP_STACK, MAP_DENYWRITE, MAP_NONBLOCK | MAP_POPULATE};
    unsigned first = first_of(a), count = count_of(a);
    int protection = some_protection(a[2]);
    struct source source = some_source(a[3]);
    long offset = source.fd < 0 ? 0 : a[4] % CONSTANT_PAGES;
    /* Behind the end of the file a private mapping is a copy with zeros, and natively SIGBUS. */
    if (source.kind == COPY && count > CONSTANT_PAGES - offset) count = (unsigned)(CONSTANT_PAGES - offset);
    /* A shared mapping of a shielded file ends in zeros instead of SIGBUS, and what is shielded is no code. */
    if (shielded && source.kind == OF_FILE && count > SHARED_PAGES - offset % SHARED_PAGES) count = (unsigned)(SHARED_PAGES - offset % SHARED_PAGES);
    if (shielded && source.kind == OF_FILE) offset %= SHARED_PAGES;
    if (shielded && source.fd >= 0) protection &= ~PROT_EXEC;
    /* MAP_SHARED_VALIDATE refuses MAP_FIXED_NOREPLACE, for it came later: a trifle that an enclave does not tell. */
    int placing = a[4] % 7 == 6 && (source.flags & MAP_TYPE) != MAP_SHARED_VALIDATE ? MAP_FIXED_NOREPLACE : MAP_FIXED;
    long result = call_mmap(a[5], at(first), size_of(count, a[4]), protection, source.flags | placing | PICK(more, a[5] / 2),
                            source.fd, offset * PAGE);
    note(" %u+%u prot %d kind %d flags %x", first, count, protection, source.kind, source.flags | placing);
    note_place(result);
    if (result == (long)at(first))
        set_pages(first, count, (struct page){.origin = ++here->origins, .kind = (unsigned char)source.kind,
                                              .was_code = !!(protection & PROT_EXEC), .was_writable = !!(protection & PROT_WRITE)});
    look(first, count);
}

static void op_unmap(const long *a) {
    unsigned first = first_of(a), count = count_of(a);
    size_t size = size_of(count, a[2]);
    long result = outcome(a[5] % 2 ? munmap(at(first), size) : syscall(SYS_munmap, at(first), size));
    note(" %u+%u %ld", first, count, result);
    if (result == 0) set_pages(first, count, (struct page){0});
    look(first, count);
}

static void op_protect(const long *a) {
    unsigned first = first_of(a), count = count_of(a);
    int protection = some_protection(a[2]);
    if (any_kind(first, count, SHARED) || (shielded && any_kind(first, count, OF_FILE))) protection &= ~PROT_EXEC; /* what processes share anonymously cannot become code */
    size_t size = size_of(count, a[3]);
    long result = outcome(a[5] % 2 ? mprotect(at(first), size, protection) : syscall(SYS_mprotect, at(first), size, protection));
    note(" %u+%u prot %d %ld", first, count, protection, result);
    for (unsigned i = first; i < first + count; i++) {
        here->page[i].was_code |= !!(protection & PROT_EXEC);
        here->page[i].was_writable |= !!(protection & PROT_WRITE);
    }
    split(first, count);
    look(first, count);
}

static int is_one_mapping(unsigned first, unsigned count) {
    for (unsigned i = first; i < first + count; i++)
        if (here->page[i].kind == NOTHING || here->page[i].origin != here->page[first].origin) return 0;
    return 1; /* mremap(2) over several: EFAULT, or a move from Linux 6.17 on */
}

static long call_mremap(long site, void *old, size_t old_size, size_t size, int flags, void *target) {
    if (site % 2) return outcome((long)mremap(old, old_size, size, flags, target));
    return outcome(syscall(SYS_mremap, old, old_size, size, flags, target));
}

static void op_move(const long *a) {
    unsigned first = first_of(a), count = count_of(a), new_count = 1 + (unsigned)(a[2] % LONGEST);
    unsigned target = (unsigned)(a[3] % (PAGES - new_count + 1));
    struct page old = here->page[first], moved[LONGEST];
    /* Growth of a private file mapping is of the file natively, and zeros here. */
    /* Mappings of shielded files do not move: their users map anew. */
    if (!is_one_mapping(first, count) || (old.kind == COPY && new_count > count) || (shielded && old.kind == OF_FILE)) {
        note(" skipped");
        return;
    }
    long result = call_mremap(a[5], at(first), size_of(count, a[4]), (size_t)new_count * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at(target));
    note(" %u+%u to %u+%u", first, count, target, new_count);
    note_place(result);
    if (result == (long)at(target)) {
        memcpy(moved, here->page + first, sizeof moved[0]);
        set_pages(first, count, (struct page){0});
        old.origin = ++here->origins;
        set_pages(target, new_count, old);
    }
    look(first, count);
    look(target, new_count);
}

static void op_resize(const long *a) {
    unsigned first = first_of(a), count = count_of(a), new_count = 1 + (unsigned)(a[2] % LONGEST);
    struct page old = here->page[first];
    /* Where only the kernel's mapping can grow (code, files, what is shared), there is no room behind it in an enclave. */
    int of_kernel = old.was_code || old.kind != PRIVATE;
    if ((shielded && old.kind == OF_FILE) || !is_one_mapping(first, count) || first + new_count > PAGES || (of_kernel && new_count > count)) {
        note(" skipped");
        return;
    }
    int inner = first + count < PAGES && here->page[first + count].origin == old.origin && new_count > count;
    long result = call_mremap(a[5], at(first), (size_t)count * PAGE, (size_t)new_count * PAGE, 0, NULL);
    note(" %u+%u to %u inner %d", first, count, new_count, inner);
    note_place(result);
    if (result == (long)at(first)) {
        for (unsigned i = count; i < new_count; i++) here->page[first + i] = old;
        for (unsigned i = new_count; i < count; i++) here->page[first + i] = (struct page){0};
    }
    look(first, count > new_count ? count : new_count);
}

/* Out of the arena, larger than any hole, and back: the kernel chooses the place in between. */
static void op_away(const long *a) {
    unsigned first = first_of(a), count = count_of(a);
    size_t size = (size_t)count * PAGE, large = size + PAGE * (PAGES + (size_t)(a[2] % 300));
    if (!is_one_mapping(first, count) || here->page[first].kind != PRIVATE) {
        note(" skipped");
        return;
    }
    long away = call_mremap(a[5], at(first), size, large, MREMAP_MAYMOVE, NULL);
    note(" %u+%u", first, count);
    note_place(away);
    if (away < 0 && away > -4096) return;
    look(first, count);
    long back = call_mremap(a[5] / 2, (void *)away, large, size, MREMAP_MAYMOVE | MREMAP_FIXED, at(first));
    note_place(back);
    here->origins++;
    for (unsigned i = first; i < first + count; i++) here->page[i].origin = here->origins;
    look(first, count);
}

/* Left out: MADV_WIPEONFORK and KEEPONFORK, DONTFORK, COLLAPSE, guard pages: refused or ignored. HWPOISON and SOFT_OFFLINE take
 * pages away from the machine. */
static void op_advise(const long *a) {
    static const int advices[] = {MADV_DONTNEED, MADV_DONTNEED, MADV_FREE, MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED,
                                  MADV_REMOVE, MADV_DOFORK, MADV_DODUMP, MADV_DONTDUMP, 20 /* COLD */, 21 /* PAGEOUT */,
                                  22 /* POPULATE_READ */, 23 /* POPULATE_WRITE */, 77};
    unsigned first = first_of(a), count = count_of(a);
    int advice = PICK(advices, a[2]);
    for (unsigned i = first; i < first + count; i++) {
        const struct page *page = &here->page[i];
        /* A private file mapping that was written, or is of a shielded file, has zeros afterwards, not the file's bytes. */
        int returns = advice == MADV_DONTNEED && page->kind == COPY && (page->was_writable || shielded);
        /* What is read after MADV_FREE before the next write is open, so only memory that is written at once is freed;
         * a private file mapping (EINVAL) is private memory to an enclave. */
        int open = advice == MADV_FREE && ((page->kind == PRIVATE && !can_write(at(i))) || page->kind == COPY);
        int trifle = advice == MADV_REMOVE && page->kind == COPY; /* EACCES, as memory EINVAL */
        trifle |= (advice == 22 || advice == 23) && page->kind == SHARED; /* behind its end: EFAULT, and here nothing */
        if (returns || open || trifle) {
            note(" skipped");
            return;
        }
    }
    long result = outcome(a[5] % 2 ? madvise(at(first), size_of(count, a[3]), advice) : syscall(SYS_madvise, at(first), size_of(count, a[3]), advice));
    note(" %u+%u advice %d %ld", first, count, advice, result);
    for (unsigned i = first; i < first + count && advice == MADV_FREE; i++)
        if (here->page[i].kind == PRIVATE) memset(at(i), 0x5a, PAGE);
    split(first, count);
    look(first, count);
}

static void op_sync(const long *a) {
    static const int flags[] = {MS_SYNC, MS_ASYNC, MS_SYNC | MS_INVALIDATE, MS_INVALIDATE, 0, MS_SYNC | MS_ASYNC, 64};
    unsigned first = first_of(a), count = count_of(a);
    int how = PICK(flags, a[2]);
    char *from = (char *)at(first) + (a[3] % 8 == 7);
    note(" %u+%u flags %d %ld", first, count, how, outcome(syscall(SYS_msync, from, size_of(count, a[4]), how)));
}

/* Only of what is mapped, and only whether it is told: which pages exist is the kernel's business. */
static void op_residency(const long *a) {
    unsigned first = first_of(a), count = count_of(a);
    unsigned char told[LONGEST];
    if (!is_mapped(first, count)) note(" skipped");
    else note(" %ld", outcome(syscall(SYS_mincore, (char *)at(first) + (a[2] % 8 == 7), (size_t)count * PAGE, a[2] % 8 == 6 ? NULL : told)));
}

static void op_invalid(const long *a) {
    unsigned first = first_of(a), count = count_of(a);
    size_t size = (size_t)count * PAGE, huge = 1UL << 47;
    char *page = at(first), *odd = page + 1;
    int anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
    long result = 0;
    if (shielded && any_kind(first, count, OF_FILE)) return; /* which of two errors comes first */
    switch (a[2] % 18) {
    case 0: result = syscall(SYS_munmap, odd, size); break;
    case 1: result = syscall(SYS_munmap, page, 0); break;
    case 2: result = syscall(SYS_mprotect, odd, size, 1); break;
    case 3: result = syscall(SYS_mprotect, page, 0, 1); break;
    case 4: result = syscall(SYS_mprotect, page, size, 0x100); break;
    case 5: result = syscall(SYS_mprotect, page, -(long)PAGE, 1); break;
    case 6: result = syscall(SYS_mmap, NULL, 0, 1, anonymous, -1, 0); break;
    case 7: result = syscall(SYS_mmap, odd, size, 1, anonymous | MAP_FIXED, -1, 0); break;
    case 8: result = syscall(SYS_mmap, NULL, size, 1, MAP_PRIVATE, -1, 0); break;
    case 9: result = syscall(SYS_mmap, NULL, size, 1, MAP_ANONYMOUS, -1, 0); break;
    case 10: result = syscall(SYS_mmap, NULL, huge, 1, anonymous, -1, 0); break;
    case 11: result = syscall(SYS_mmap, NULL, size, 1, MAP_PRIVATE, CONSTANT_FILE, 17); break;
    case 12: result = syscall(SYS_madvise, odd, size, MADV_DONTNEED); break;
    case 13: result = syscall(SYS_madvise, page, -(long)PAGE, MADV_DONTNEED); break;
    case 14: result = syscall(SYS_mremap, odd, size, size, MREMAP_MAYMOVE, 0); break;
    case 15: result = syscall(SYS_mremap, page, size, 0, MREMAP_MAYMOVE, 0); break;
    case 16: result = syscall(SYS_mremap, page, size, size, 64, 0); break;
    default: result = syscall(SYS_mremap, page, size, size, MREMAP_FIXED, at(0)); break;
    }
    note(" %ld %ld", a[2] % 18, outcome(result));
    look(first, count);
}

int all_writable(void *address, size_t length) {
    char *page = (char *)((uintptr_t)address & ~(uintptr_t)(PAGE - 1));
    for (; page < (char *)address + length; page += PAGE)
        if (!can_write(page)) return 0;
    return 1;
}

static void op_fill(const long *a) {
    unsigned first = first_of(a), count = count_of(a), filled = 0;
    for (unsigned i = first; i < first + count && !here->is_thread; i++) {
        if (!can_write(at(i))) continue;
        memset((char *)at(i) + a[3] % PAGE, (int)(a[2] + i), (size_t)(PAGE - a[3] % PAGE));
        filled++;
    }
    note(" %u+%u %u", first, count, filled);
}

/* System V memory, where the kernel chooses; over memory of one's own (SHM_REMAP) is refused in an enclave. */
static void op_segment(const long *a) {
    size_t size = (size_t)(1 + a[0] % (3 * PAGE));
    int id = shmget(IPC_PRIVATE, size, 0600);
    char *place = shmat(id, NULL, a[1] % 3 ? 0 : SHM_RDONLY);
    shmctl(id, IPC_RMID, NULL);
    note(" %zu %d", size, place != (char *)-1);
    if (place == (char *)-1) return;
    note(" r %d w %d", can_read(place), can_write(place));
    note(" %ld %ld", outcome(mprotect(place, PAGE, PROT_READ)), outcome(msync(place, PAGE, MS_SYNC)));
    note(" %ld", outcome(a[2] % 2 ? shmdt(place) : munmap(place, size)));
    note(" r %d", can_read(place));
}

static void op_look(const long *a) {
    (void)a;
    look(0, PAGES);
}

static void op_nothing(const long *a) { (void)a; }

const struct operation memory_operations[] = {
    {"arena", op_nothing, 1}, {"map", op_map, 1},         {"unmap", op_unmap, 1}, {"protect", op_protect, 1},     {"move", op_move, 1},
    {"resize", op_resize, 1}, {"away", op_away, 1},       {"advise", op_advise, 0}, {"sync", op_sync, 1},         {"residency", op_residency, 1},
    {"invalid", op_invalid, 1}, {"fill", op_fill, 0},     {"look", op_look, 1},
    {"segment", op_segment, 0}, {NULL, NULL, 0},
};
