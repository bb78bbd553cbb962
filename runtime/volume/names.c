/* Making, linking, removing and renaming. Every call checks first and changes then, so an error of the caller changes nothing. */
#include "begin.h"
#include "directory.h"
#include "index.h"
#include "store.h"

static u64 now(const struct volume *volume) { return volume->io.now(volume->io.context); }
static bool is_directory(const struct inode *inode) { return (inode->mode & TYPE_MASK) == DIRECTORY; }

/* A directory changed, or an inode's links did. */
static long touch(struct volume *volume, u64 number, int more_links, bool content) {
    struct inode inode;
    long error = table_read(volume, number, &inode);
    if (error) return error;
    inode.links += (u32)more_links;
    inode.ctime = now(volume);
    if (content) inode.mtime = inode.ctime;
    return table_write(volume, number, &inode);
}

/* 0 if the name is free in a directory that is one. */
static long check_free(struct volume *volume, u64 directory, struct name name) {
    long found = directory_find(volume, directory, name);
    if (found >= 0) return -EEXIST;
    if (found != -ENOENT || !name.length) return found;
    return name_is_valid(name) ? 0 : -EINVAL;
}

long volume_find(struct volume *volume, u64 directory, struct name name) { return directory_find(volume, directory, name); }

static long make_inode(struct volume *volume, u64 directory, u32 mode, u32 links, u32 uid, u32 gid) {
    bool directory_too = (mode & TYPE_MASK) == DIRECTORY;
    struct inode inode = {.mode = mode & 0xffff, .links = links, .uid = uid, .gid = gid, .parent = directory_too ? directory : 0};
    inode.mtime = inode.ctime = now(volume);
    return table_new(volume, &inode);
}

long volume_make(struct volume *volume, u64 directory, struct name name, u32 mode, u32 uid, u32 gid) {
    u32 type = mode & TYPE_MASK;
    if (type != DIRECTORY && type != REGULAR && type != LINK) return -EPERM;
    long error = volume_begin(volume);
    if (!error) error = store_reserve(volume, OPERATION_FRAMES);
    if (!error) error = check_free(volume, directory, name);
    long number = error ? error : make_inode(volume, directory, mode, 1, uid, gid);
    if (number < 0) return number;
    error = directory_add(volume, directory, name, (u64)number);
    if (!error) error = touch(volume, directory, 0, true);
    return error ? error : number;
}

long volume_make_nameless(struct volume *volume, u32 mode, u32 uid, u32 gid) {
    if ((mode & TYPE_MASK) != REGULAR) return -EPERM;
    long error = volume_begin(volume);
    return error ? error : make_inode(volume, 0, mode, 0, uid, gid);
}

long volume_link(struct volume *volume, u64 number, u64 directory, struct name name) {
    struct inode inode;
    long error = volume_begin(volume);
    if (!error) error = table_read(volume, number, &inode);
    if (!error && is_directory(&inode)) error = -EPERM;
    if (!error) error = check_free(volume, directory, name);
    if (!error) error = directory_add(volume, directory, name, number);
    if (!error) error = touch(volume, number, 1, false);
    return error ? error : touch(volume, directory, 0, true);
}

long volume_remove(struct volume *volume, u64 directory, struct name name) {
    struct inode inode;
    long error = volume_begin(volume), number = error ? error : directory_find(volume, directory, name);
    if (number < 0) return number;
    error = table_read(volume, (u64)number, &inode);
    if (!error && is_directory(&inode)) {
        error = directory_is_empty(volume, (u64)number);
        error = error == 1 ? 0 : error ? error : -ENOTEMPTY;
    }
    if (!error) error = directory_remove(volume, directory, name);
    if (!error) error = touch(volume, (u64)number, -1, false);
    return error ? error : touch(volume, directory, 0, true);
}

long volume_release(struct volume *volume, u64 number) {
    struct inode inode;
    long error = volume_begin(volume);
    if (!error) error = table_read(volume, number, &inode);
    if (error || inode.links) return error;
    index_drop(volume, number);
    error = tree_resize(volume, number, inode.size, 0);
    return error ? error : table_free(volume, number);
}

/* -EINVAL if `directory` is `number` or stands below it. */
static long check_outside(struct volume *volume, u64 directory, u64 number) {
    struct inode inode;
    for (u64 steps = 0; steps < volume->inode_limit; steps++) {
        if (directory == number) return -EINVAL;
        if (directory == ROOT_INODE) return 0;
        long error = table_read(volume, directory, &inode);
        if (error) return error;
        directory = inode.parent;
    }
    return -EBADMSG;
}

/* Whether what has the new name may give way to what gets it. */
static long check_replaced(struct volume *volume, const struct inode *moved, u64 number) {
    struct inode replaced;
    long error = table_read(volume, number, &replaced);
    if (error) return error;
    if (!is_directory(&replaced)) return is_directory(moved) ? -ENOTDIR : 0;
    if (!is_directory(moved)) return -EISDIR;
    error = directory_is_empty(volume, number);
    return error == 1 ? 0 : error ? error : -ENOTEMPTY;
}

static long set_parent(struct volume *volume, u64 number, u64 parent) {
    struct inode inode;
    long error = table_read(volume, number, &inode);
    if (error) return error;
    if (is_directory(&inode)) inode.parent = parent;
    return table_write(volume, number, &inode);
}

static long move(struct volume *volume, u64 number, u64 from, struct name old, u64 to, struct name new, long replaced) {
    long error = replaced >= 0 ? directory_replace(volume, to, new, number) : directory_add(volume, to, new, number);
    if (!error) error = directory_remove(volume, from, old);
    if (!error) error = set_parent(volume, number, to);
    if (!error && replaced >= 0) error = touch(volume, (u64)replaced, -1, false);
    if (!error) error = touch(volume, number, 0, false);
    if (!error) error = touch(volume, from, 0, true);
    return error ? error : touch(volume, to, 0, true);
}

long volume_rename(struct volume *volume, u64 from, struct name old, u64 to, struct name new) {
    struct inode moved;
    long error = volume_begin(volume), number = error ? error : directory_find(volume, from, old);
    if (number < 0) return number;
    long replaced = directory_find(volume, to, new);
    if (replaced < 0 && replaced != -ENOENT) return replaced;
    if (replaced == number) return 0;
    if (!name_is_valid(new)) return -EINVAL;
    error = table_read(volume, (u64)number, &moved);
    if (!error && is_directory(&moved)) error = check_outside(volume, to, (u64)number);
    if (!error && replaced >= 0) error = check_replaced(volume, &moved, (u64)replaced);
    return error ? error : move(volume, (u64)number, from, old, to, new, replaced);
}
