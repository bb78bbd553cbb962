#include "table.h"

#include <linux/errno.h>

#include "kept_path.h"
#include "table_overlay.h"

static struct shielded table[TABLE_MOST] BEHIND;
static u64 end;
static long owner; /* the process whose table it is */

bool table_is_borrowed(void) {
    if (!owner) owner = SYS0(__NR_getpid);
    return SYS0(__NR_getpid) != owner;
}

bool table_get(u64 fd, struct shielded *out) {
    if (fd >= end) return false;
    const struct shielded *entry = overlay_entry(fd);
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
    kept_path_give(entry->path);
}

long table_put(u64 fd, const struct shielded *entry) {
    if (fd >= TABLE_MOST) return -EMFILE;
    if (fd >= end) end = fd + 1;
    if (table_is_borrowed()) return overlay_put(fd, entry);
    struct shielded before;
    bool was_there = table_get(fd, &before);
    table[fd] = *entry; /* who looks without the lock must not find nothing between the two */
    kept_path_use(entry->path);
    tell_copied(entry);
    if (was_there) tell_closed(&before);
    return 0;
}

void table_restore(u64 fd, const struct shielded *entry) {
    if (fd >= TABLE_MOST) return;
    if (fd >= end) end = fd + 1;
    table[fd] = *entry;
    kept_path_use(entry->path);
}

void table_drop(u64 fd) {
    static const struct shielded none;
    struct shielded before;
    if (!table_get(fd, &before)) return;
    if (table_is_borrowed()) {
        (void)!overlay_put(fd, &none); /* where too many children are at it, it stays, and its calls fail: the number is closed */
        return;
    }
    table[fd] = none;
    tell_closed(&before);
}

u64 table_end(void) { return end; }

void table_adopt(void) {
    owner = SYS0(__NR_getpid);
    overlay_adopt();
}

void table_count_copies(void) {
    for (u64 fd = 0; fd < end; fd++)
        if (table[fd].kind != SHIELD_NONE) tell_copied(&table[fd]);
}
