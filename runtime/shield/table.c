#include "table.h"

#include <linux/errno.h>

enum { CHANGES = 24, OVERLAYS = TABLE_OVERLAYS, PATHS = 128, PATH_ROOM = PATH_SIZE, GET_FS = 0x1003 };

static struct shielded table[TABLE_MOST] BEHIND;
static u64 end;
static long owner; /* the process whose table it is */

/* What vfork children changed. A thread that waits for its child is the only one with that thread pointer, besides the child. */
static struct overlay {
    long process; /* 0: unused */
    u64 thread;
    u32 count;
    bool told; /* table_overlay has told of it */
    struct {
        u64 fd;
        struct shielded entry;
    } change[CHANGES];
} overlays[OVERLAYS] BEHIND;
static u32 overlays_used;

static struct {
    u32 users;
    char text[PATH_ROOM];
} paths[PATHS] BEHIND;

static u64 thread_pointer(void) {
    u64 value = 0;
    SYS2(__NR_arch_prctl, GET_FS, &value);
    return value;
}

bool table_is_borrowed(void) {
    if (!owner) owner = SYS0(__NR_getpid);
    return SYS0(__NR_getpid) != owner;
}

/* This thread's, if its child is the one that asks; what a child left behind is dropped when its parent's thread comes by. */
static struct overlay *find_overlay(void) {
    u64 thread = overlays_used ? thread_pointer() : 0;
    for (u32 i = 0; overlays_used && i < OVERLAYS; i++) {
        struct overlay *overlay = &overlays[i];
        if (!overlay->process || overlay->thread != thread) continue;
        if (overlay->process == SYS0(__NR_getpid)) return overlay;
        overlay->process = 0;
        overlays_used--;
    }
    return NULL;
}

static struct overlay *make_overlay(void) {
    struct overlay *overlay = find_overlay();
    for (u32 i = 0; !overlay && i < OVERLAYS; i++) {
        if (overlays[i].process) continue;
        overlay = &overlays[i];
        overlay->process = SYS0(__NR_getpid);
        overlay->thread = thread_pointer();
        overlay->count = 0;
        overlay->told = false;
        overlays_used++;
    }
    return overlay;
}

static struct shielded *changed(struct overlay *overlay, u64 fd) {
    for (u32 i = 0; overlay && i < overlay->count; i++)
        if (overlay->change[i].fd == fd) return &overlay->change[i].entry;
    return NULL;
}

long table_overlay(bool make, bool *first) {
    *first = false;
    if (make ? !table_is_borrowed() : !overlays_used) return -1;
    struct overlay *overlay = make ? make_overlay() : find_overlay();
    if (!overlay) return make ? -ENOMEM : -1;
    *first = !overlay->told;
    overlay->told |= make;
    return overlay - overlays;
}

static long put_borrowed(u64 fd, const struct shielded *entry) {
    struct overlay *overlay = make_overlay();
    struct shielded *kept = changed(overlay, fd);
    if (!overlay || (!kept && overlay->count == CHANGES)) return -EMFILE;
    if (!kept) {
        overlay->change[overlay->count].fd = fd;
        kept = &overlay->change[overlay->count++].entry;
    }
    *kept = *entry;
    return 0;
}

bool table_get(u64 fd, struct shielded *out) {
    if (fd >= end) return false;
    const struct shielded *entry = overlays_used ? changed(find_overlay(), fd) : NULL;
    if (!entry) entry = &table[fd];
    if (entry->kind == SHIELD_NONE) return false;
    *out = *entry;
    return true;
}

static void tell_copied(const struct shielded *entry) {
    if (entry->kind == SHIELD_FILE) file_copied(entry);
    if (entry->kind == SHIELD_SOCKET) socket_copied(entry);
}

static void tell_closed(const struct shielded *entry) {
    if (entry->kind == SHIELD_FILE) file_closed(entry);
    if (entry->kind == SHIELD_SOCKET) socket_dropped(entry);
    if (entry->path) paths[entry->path - 1].users--;
}

long table_put(u64 fd, const struct shielded *entry) {
    if (fd >= TABLE_MOST) return -EMFILE;
    if (fd >= end) end = fd + 1;
    if (table_is_borrowed()) return put_borrowed(fd, entry);
    table_drop(fd);
    table[fd] = *entry;
    if (entry->path) paths[entry->path - 1].users++;
    tell_copied(entry);
    return 0;
}

void table_restore(u64 fd, const struct shielded *entry) {
    if (fd >= TABLE_MOST) return;
    if (fd >= end) end = fd + 1;
    table[fd] = *entry;
    if (entry->path) paths[entry->path - 1].users++;
}

void table_drop(u64 fd) {
    static const struct shielded none;
    struct shielded before;
    if (!table_get(fd, &before)) return;
    if (table_is_borrowed()) {
        (void)!put_borrowed(fd, &none); /* if there is no room it stays, and its calls fail: the number is closed */
        return;
    }
    table[fd] = none;
    tell_closed(&before);
}

u64 table_end(void) { return end; }

void table_adopt(void) {
    owner = SYS0(__NR_getpid);
    for (u32 i = 0; overlays_used && i < OVERLAYS; i++) overlays[i].process = 0;
    overlays_used = 0;
}

void table_count_copies(void) {
    for (u64 fd = 0; fd < end; fd++)
        if (table[fd].kind != SHIELD_NONE) tell_copied(&table[fd]);
}

long table_keep_path(const char *path) {
    if (strlen(path) >= PATH_ROOM) return -ENAMETOOLONG;
    for (u32 i = 0; i < PATHS; i++) {
        if (paths[i].users) continue;
        copy_bounded(paths[i].text, PATH_ROOM, path);
        return i + 1;
    }
    return -EMFILE;
}

const char *table_path(u32 number) { return number ? paths[number - 1].text : ""; }
