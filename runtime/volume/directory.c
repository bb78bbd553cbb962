#include "directory.h"

#include "index.h"

/* Where an entry stands: the block, its frame now, and the bytes in it. `previous` is the entry before, or the same if there is none. */
struct position {
    u64 block;
    u32 frame, offset, previous;
};

static struct entry *entry_at(struct volume *volume, u32 frame, u32 offset) {
    return (struct entry *)(void *)(volume->data[frame] + offset);
}

static u32 needed(size_t name_length) { return (u32)((ENTRY_START + name_length + 3) / 4 * 4); }
static u32 taken(const struct entry *entry) { return entry->inode ? needed(entry->name_length) : 0; }

/* What is authentic is still not believed to be well-formed: whoever had the key may have written it wrongly. */
static bool is_right(const struct entry *entry, u32 offset) {
    if (offset % 4 || entry->length % 4 || entry->length < ENTRY_START || offset + entry->length > BLOCK) return false;
    return ENTRY_START + entry->name_length <= entry->length && (entry->inode != 0) == (entry->name_length != 0);
}

bool name_is_valid(struct name name) {
    if (!name.length || name.length > NAME_LONGEST) return false;
    if (name.bytes[0] == '.' && (name.length == 1 || (name.length == 2 && name.bytes[1] == '.'))) return false;
    for (size_t i = 0; i < name.length; i++)
        if (!name.bytes[i] || name.bytes[i] == '/') return false;
    return true;
}

/* The size in blocks, or an error. */
static long blocks_of(struct volume *volume, u64 directory) {
    struct inode inode;
    long error = table_read(volume, directory, &inode);
    if (error) return error;
    return (inode.mode & TYPE_MASK) == DIRECTORY ? (long)(inode.size / BLOCK) : -ENOTDIR;
}

typedef bool chooser(const struct entry *entry, struct name name);

static bool is_named(const struct entry *entry, struct name name) {
    return entry->name_length == name.length && memcmp(entry->name, name.bytes, name.length) == 0;
}
static bool has_room(const struct entry *entry, struct name name) { return entry->length - taken(entry) >= needed(name.length); }
static bool is_used(const struct entry *entry, struct name name) {
    (void)name;
    return entry->inode != 0;
}

/* In one block: 1, or 0 if there is none. */
static long seek_in(struct volume *volume, u64 directory, u64 block, chooser *choose, struct name name, struct position *found) {
    long frame = tree_get(volume, directory, 0, block);
    if (frame < 0) return frame;
    u32 previous = 0;
    for (u32 offset = 0; offset < BLOCK;) {
        const struct entry *entry = entry_at(volume, (u32)frame, offset);
        if (!is_right(entry, offset)) return -EBADMSG;
        if (choose(entry, name)) {
            *found = (struct position){block, (u32)frame, offset, previous};
            return 1;
        }
        previous = offset;
        offset += entry->length;
    }
    return 0;
}

/* The first entry that is chosen, from a block on: 1, or 0 if there is none. */
static long seek_from(struct volume *volume, u64 directory, u64 block, chooser *choose, struct name name, struct position *found) {
    long blocks = blocks_of(volume, directory), result = 0;
    for (; (long)block < blocks && !result; block++) result = seek_in(volume, directory, block, choose, name, found);
    return blocks < 0 ? blocks : result;
}

static long put_in_index(struct volume *volume, u64 directory, u64 block) {
    long frame = tree_get(volume, directory, 0, block);
    for (u32 offset = 0; frame >= 0 && offset < BLOCK;) {
        const struct entry *entry = entry_at(volume, (u32)frame, offset);
        if (!is_right(entry, offset)) return -EBADMSG;
        if (entry->inode) index_add(volume, directory, (struct name){entry->name, entry->name_length}, block);
        offset += entry->length;
    }
    return frame < 0 ? frame : 0;
}

/* 1 if its names are in the index now. */
static long is_indexed(struct volume *volume, u64 directory) {
    long blocks = blocks_of(volume, directory), error = 0;
    if (blocks < INDEX_BLOCKS) return blocks < 0 ? blocks : 0;
    if (index_has(volume, directory)) return 1;
    if (!index_begin(volume, directory)) return 0;
    for (u64 block = 0; (long)block < blocks && !error; block++) error = put_in_index(volume, directory, block);
    if (error) index_drop(volume, directory);
    return error ? error : index_has(volume, directory);
}

static long seek_named(struct volume *volume, u64 directory, struct name name, struct position *found) {
    long indexed = is_indexed(volume, directory), block, result = 0;
    if (indexed <= 0) return indexed ? indexed : seek_from(volume, directory, 0, is_named, name, found);
    for (u64 at = 0; !result && (block = index_next(volume, directory, name, &at)) >= 0;)
        if (block < blocks_of(volume, directory)) result = seek_in(volume, directory, (u64)block, is_named, name, found);
    return result;
}

long directory_find(struct volume *volume, u64 directory, struct name name) {
    struct position at;
    if (name.length > NAME_LONGEST) return -ENAMETOOLONG;
    if (!name.length) return -ENOENT;
    long found = seek_named(volume, directory, name, &at);
    if (found <= 0) return found ? found : -ENOENT;
    return entry_at(volume, at.frame, at.offset)->inode;
}

static void fill(struct entry *entry, struct name name, u64 inode, u32 length) {
    memset(entry, 0, length);
    entry->inode = (u32)inode;
    entry->length = (u16)length;
    entry->name_length = (u8)name.length;
    if (name.length) memcpy(entry->name, name.bytes, name.length);
}

/* A block more, which is one free entry. */
static long extend(struct volume *volume, u64 directory, struct position *at) {
    struct inode inode;
    long error = table_read(volume, directory, &inode);
    if (!error) error = tree_resize(volume, directory, inode.size, inode.size + BLOCK);
    if (!error) error = table_read(volume, directory, &inode); /* its tree may have grown */
    if (error) return error;
    *at = (struct position){.block = inode.size / BLOCK};
    inode.size += BLOCK;
    error = table_write(volume, directory, &inode);
    long frame = error ? error : tree_change(volume, directory, at->block);
    if (frame < 0) return frame;
    at->frame = (u32)frame;
    fill(entry_at(volume, at->frame, 0), (struct name){0}, 0, BLOCK);
    return 0;
}

long directory_add(struct volume *volume, u64 directory, struct name name, u64 inode) {
    struct position at;
    long found = seek_from(volume, directory, index_room(volume, directory), has_room, name, &at);
    if (found == 0) found = extend(volume, directory, &at);
    if (found < 0) return found;
    struct entry *entry = entry_at(volume, at.frame, at.offset);
    u32 kept = taken(entry), length = entry->length - kept;
    if (kept) entry->length = (u16)kept;
    fill(entry_at(volume, at.frame, at.offset + kept), name, inode, length);
    cache_dirty(volume, at.frame);
    index_add(volume, directory, name, at.block);
    index_set_room(volume, directory, at.block);
    return 0;
}

long directory_replace(struct volume *volume, u64 directory, struct name name, u64 inode) {
    struct position at;
    long found = seek_named(volume, directory, name, &at);
    if (found <= 0) return found ? found : -ENOENT;
    entry_at(volume, at.frame, at.offset)->inode = (u32)inode;
    cache_dirty(volume, at.frame);
    return 0;
}

/* Its room goes to the entry before, if that stands in the same block. */
long directory_remove(struct volume *volume, u64 directory, struct name name) {
    struct position at;
    long found = seek_named(volume, directory, name, &at);
    if (found <= 0) return found ? found : -ENOENT;
    struct entry *entry = entry_at(volume, at.frame, at.offset), *before = entry_at(volume, at.frame, at.previous);
    u32 length = entry->length;
    fill(entry, (struct name){0}, 0, length);
    if (before != entry) {
        memset(entry, 0, ENTRY_START);
        before->length = (u16)(before->length + length);
    }
    cache_dirty(volume, at.frame);
    index_remove(volume, directory, name, at.block);
    return 0;
}

long directory_is_empty(struct volume *volume, u64 directory) {
    struct position at;
    long found = seek_from(volume, directory, 0, is_used, (struct name){0}, &at);
    return found < 0 ? found : !found;
}

long volume_list(struct volume *volume, u64 directory, u64 *position, struct name *name, u64 *inode) {
    long blocks = blocks_of(volume, directory);
    while (blocks >= 0 && *position / BLOCK < (u64)blocks) {
        long frame = tree_get(volume, directory, 0, *position / BLOCK);
        if (frame < 0) return frame;
        const u32 wanted = (u32)(*position % BLOCK);
        for (u32 offset = 0; offset < BLOCK;) { /* from the block's start: entries may have been joined meanwhile */
            const struct entry *entry = entry_at(volume, (u32)frame, offset);
            if (!is_right(entry, offset)) return -EBADMSG;
            if (offset >= wanted && entry->inode) {
                *position = *position / BLOCK * BLOCK + offset + entry->length;
                *name = (struct name){entry->name, entry->name_length};
                *inode = entry->inode;
                return 1;
            }
            offset += entry->length;
        }
        *position = (*position / BLOCK + 1) * BLOCK;
    }
    return blocks < 0 ? blocks : 0;
}
