#include "table_overlay.h"

#include <linux/errno.h>
#include <linux/futex.h>

#include "deferral.h"
#include "kept_path.h"

enum { CHANGES = 64, OVERLAYS = TABLE_OVERLAYS, WORD_BITS = 64 };

static const u32 being_freed = ~0U;

/* Apart from the rest, so that looking through them touches little memory. */
static struct life {
    u32 process; /* 0: unused */
    bool told;   /* table_overlay has told of it */
    struct robust_word word; /* holds the child's thread id; marked by the kernel when it has executed or ended */
    struct robust_head list;
} lives[OVERLAYS] BEHIND;
static u32 used;

static struct overlay {
    u32 count;
    struct {
        u64 fd;
        struct shielded entry;
    } change[CHANGES];
    u64 closed[TABLE_MOST / WORD_BITS];
} overlays[OVERLAYS] BEHIND;

static bool is_over(const struct life *life) { return __atomic_load_n(&life->word.word, __ATOMIC_ACQUIRE) & FUTEX_OWNER_DIED; }

static void leave_paths(struct overlay *overlay) {
    for (u32 i = 0; i < overlay->count; i++) kept_path_give(overlay->change[i].entry.path);
    overlay->count = 0;
}

/* Without the lock: only one frees it. */
static void free_one(struct life *life, u32 process) {
    if (process == being_freed || !__atomic_compare_exchange_n(&life->process, &process, being_freed, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) return;
    leave_paths(&overlays[life - lives]);
    __atomic_sub_fetch(&used, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&life->process, 0, __ATOMIC_RELEASE);
}

/* This process's; those of others that are over are freed. -1 if it has none. */
static long find(void) {
    long found = -1;
    if (!__atomic_load_n(&used, __ATOMIC_RELAXED)) return found;
    const u32 self = (u32)SYS0(__NR_getpid);
    for (u32 i = 0; i < OVERLAYS; i++) {
        u32 process = __atomic_load_n(&lives[i].process, __ATOMIC_ACQUIRE);
        if (!process) continue;
        if (is_over(&lives[i])) free_one(&lives[i], process);
        else if (process == self) found = i;
    }
    return found;
}

/* The child uses no list of its own: what libc registers is its parent's. */
static void begin(struct life *life) {
    life->word = (struct robust_word){.next = (struct robust_word *)&life->list, .word = (u32)SYS0(__NR_gettid)};
    life->list = (struct robust_head){.next = &life->word, .offset = offsetof(struct robust_word, word)};
    SYS2(__NR_set_robust_list, &life->list, sizeof life->list);
    life->told = false;
    __atomic_add_fetch(&used, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&life->process, (u32)SYS0(__NR_getpid), __ATOMIC_RELEASE);
}

static long make(void) {
    long found = find();
    for (u32 i = 0; found < 0 && i < OVERLAYS; i++) {
        if (__atomic_load_n(&lives[i].process, __ATOMIC_ACQUIRE)) continue;
        memset(overlays[i].closed, 0, sizeof overlays[i].closed);
        begin(&lives[i]);
        found = i;
    }
    return found;
}

long table_overlay(bool wanted, bool *first) {
    *first = false;
    if (wanted && !table_is_borrowed()) return -1;
    const long at = wanted ? make() : find();
    if (at < 0) return wanted ? -ENOMEM : -1;
    *first = !lives[at].told;
    lives[at].told |= wanted;
    return at;
}

static u32 place_of(const struct overlay *overlay, u64 fd) {
    u32 i = 0;
    while (i < overlay->count && overlay->change[i].fd != fd) i++;
    return i;
}

const struct shielded *overlay_entry(u64 fd) {
    static const struct shielded none;
    const long at = find();
    if (at < 0) return NULL;
    const struct overlay *overlay = &overlays[at];
    const u32 i = place_of(overlay, fd);
    if (i < overlay->count) return &overlay->change[i].entry;
    return overlay->closed[fd / WORD_BITS] >> fd % WORD_BITS & 1 ? &none : NULL;
}

long overlay_put(u64 fd, const struct shielded *entry) {
    const long at = make();
    if (at < 0) return -EMFILE;
    struct overlay *overlay = &overlays[at];
    const u32 i = place_of(overlay, fd);
    if (entry->kind != SHIELD_NONE && i == CHANGES) return -EMFILE;
    if (i < overlay->count) {
        kept_path_give(overlay->change[i].entry.path);
        overlay->change[i] = overlay->change[--overlay->count];
    }
    overlay->closed[fd / WORD_BITS] |= 1UL << fd % WORD_BITS;
    if (entry->kind == SHIELD_NONE) return 0;
    overlay->change[overlay->count].fd = fd;
    overlay->change[overlay->count++].entry = *entry;
    kept_path_use(entry->path);
    return 0;
}

void overlay_adopt(void) {
    for (u32 i = 0; used && i < OVERLAYS; i++) {
        if (lives[i].process) leave_paths(&overlays[i]);
        lives[i].process = 0;
    }
    used = 0;
}
