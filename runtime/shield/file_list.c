/* getdents64(2) and getdents(2). The descriptor's offset says where the next entry stands: 0 and 1 are "." and "..", behind them the
 * bytes of the directory. */
#include <linux/fcntl.h>

#include "file.h"

enum { SEEK_BEGIN = 0, SEEK_HERE = 1, DOTS = 2, HEAD = 19, OLD_HEAD = 18, NAME_MOST = 255, KIND_DIRECTORY = 4, KIND_REGULAR = 8, KIND_LINK = 10 };

struct listing {
    u8 *to;
    u64 room, used;
    bool old; /* struct linux_dirent: the type stands at the record's end */
};

static u8 kind_of(u32 mode) {
    u32 type = mode & TYPE_MASK;
    return type == DIRECTORY ? KIND_DIRECTORY : type == LINK ? KIND_LINK : KIND_REGULAR;
}

/* False if there is no room for it. */
static bool add(struct listing *listing, u64 inode, u64 next, u8 kind, const u8 *name, u64 length) {
    u64 head = listing->old ? OLD_HEAD : HEAD, size = (head + length + 1 + listing->old + 7) / 8 * 8;
    if (listing->used + size > listing->room) return false;
    u8 *at = listing->to + listing->used;
    u16 short_size = (u16)size;
    memset(at, 0, size);
    memcpy(at, &inode, sizeof inode);
    memcpy(at + 8, &next, sizeof next);
    memcpy(at + 16, &short_size, sizeof short_size);
    if (!listing->old) at[18] = kind;
    else at[size - 1] = kind;
    memcpy(at + head, name, length);
    listing->used += size;
    return true;
}

/* The next entry; *position moves behind it. 1, 0 at the end or where there is no room, or -errno. */
static long list_one(const struct location *location, struct listing *listing, u64 *position) {
    static u8 copy[NAME_MOST];
    struct inode status;
    struct name name;
    u64 inode = 0, next = *position - DOTS;
    long found = volume_list(location->volume, location->inode, &next, &name, &inode);
    if (found != 1) return found;
    u64 length = name.length;
    memcpy(copy, name.bytes, length); /* the cache may drop what it points to */
    long error = volume_status(location->volume, inode, &status);
    if (failed(error)) return error;
    if (!add(listing, inode, next + DOTS, kind_of(status.mode), copy, length)) return 0;
    *position = next + DOTS;
    return 1;
}

static long list_dots(const struct location *location, struct listing *listing, u64 *position) {
    if (*position == 0 && !add(listing, location->inode, 1, KIND_DIRECTORY, (const u8 *)".", 1)) return 0;
    *position = max_u64(*position, 1);
    if (*position == 1 && !add(listing, location->status.parent, DOTS, KIND_DIRECTORY, (const u8 *)"..", 2)) return 0;
    *position = max_u64(*position, DOTS);
    return 1;
}

static long list(const struct location *location, int fd, struct listing *listing) {
    if ((location->status.mode & TYPE_MASK) != DIRECTORY) return -ENOTDIR;
    long at = SYS3(__NR_lseek, fd, 0, SEEK_HERE);
    if (failed(at)) return at;
    u64 position = (u64)at, before = position;
    long more = list_dots(location, listing, &position);
    while (more == 1) more = list_one(location, listing, &position);
    if (failed(more) && !listing->used) return more;
    SYS3(__NR_lseek, fd, position, SEEK_BEGIN);
    if (listing->used || position != before) return (long)listing->used;
    struct name name;
    u64 next = position - DOTS, inode;
    return position >= DOTS && volume_list(location->volume, location->inode, &next, &name, &inode) == 0 ? 0 : -EINVAL; /* no room for one */
}

long file_list_call(struct call *call, int fd, const struct shielded *entry) {
    struct location location;
    struct listing listing = {.to = ptr_of(call->arg[1]), .room = (u32)call->arg[2], .old = call->number == __NR_getdents};
    if (entry->access & O_PATH) return -EBADF;
    if (!shield_writable(call->arg[1], listing.room)) return -EFAULT;
    long error = location_enter_open(&location, entry, false);
    return failed(error) ? error : location_leave(&location, list(&location, fd, &listing));
}
