/* A volume that is open for reading and writing: docs/formats/volume.md.
 *
 * Nothing on the disk that the last committed state uses is ever written over, so whatever happens, the volume is as it was at the
 * last volume_commit. All calls return a negative errno on failure; -EBADMSG says that the disk does not hold what was written,
 * -ESTALE that there is no such inode (any more). One caller at a time: whoever shares a volume locks it.
 *
 * A state can also be published: then it is on the disk for whoever is told its root, but only as long as somebody remembers that. What
 * is durable stays the last committed state, and neither is written over. */
#ifndef CLOISTER_VOLUME_VOLUME_H
#define CLOISTER_VOLUME_VOLUME_H

#include "format.h"

struct volume;

/* The disk. Blocks have 4,096 bytes. */
struct volume_io {
    void *context;
    long (*read)(void *context, u64 block, u8 *to);       /* -EBADMSG behind the end */
    long (*write)(void *context, u64 block, const u8 *from);
    long (*sync)(void *context);                          /* everything written is durable */
    long (*reserve)(void *context, u64 block, u64 count); /* so that writing there cannot fail for want of room; NULL: nobody can say */
    long (*relieve)(void *context); /* commits at once, for what the last committed state uses stands in the way; NULL: it may not */
    void (*random)(void *context, u8 *to, size_t size);
    u64 (*now)(void *context);                            /* nanoseconds since 1970 */
};

struct volume_root {
    u64 generation;
    u8 digest[32]; /* SHA-256 of the superblock */
    u64 place;     /* the superblock's block: below SUPERBLOCKS if the state was committed, else it was published */
};

/* `memory` (zeroed, 4 KiB aligned) is the volume's for as long as it is open; more of it is more cache. `wanted` is the state to open,
 * NULL for the newest committed one. */
NODISCARD long volume_open(struct volume **opened, const struct volume_io *io, const u8 key[32], const struct volume_root *wanted,
                           void *memory, size_t size);
/* A new volume with an empty root directory, which belongs to that user; it is open then. `encrypted`: else authenticated. */
NODISCARD long volume_create(struct volume **opened, const struct volume_io *io, const u8 key[32], bool encrypted, u32 uid, u32 gid,
                             void *memory, size_t size);
/* Forgets what was changed since, and goes on with that state, which somebody else may have written. The numbers of inodes that are
 * forgotten are not given again while the volume is open (`lost`), for somebody may have them. */
NODISCARD long volume_reload(struct volume *volume, const struct volume_root *wanted, bool lost);
NODISCARD long volume_commit(struct volume *volume);
NODISCARD long volume_publish(struct volume *volume);
NODISCARD bool volume_is_changed(const struct volume *volume); /* since it was opened, committed or published */
/* What only changes need to know, which otherwise the first one looks for. */
NODISCARD long volume_prepare(struct volume *volume);
/* What volume_remove left because somebody may have had it open: for the first to open a volume. */
NODISCARD long volume_forget_nameless(struct volume *volume);
/* The same, one by one, as many as were noted when the volume was prepared; 0 behind the last. */
NODISCARD u64 volume_nameless(const struct volume *volume, u64 index);
void volume_root(const struct volume *volume, struct volume_root *root);
/* By whom the state is that was opened, in whatever words whoever made it had; zeros: by nobody who says. And by whom later ones are. */
void volume_writer(const struct volume *volume, u8 writer[16]);
void volume_set_writer(struct volume *volume, const u8 writer[16]);
NODISCARD bool volume_is_encrypted(const struct volume *volume); /* else its blocks stand in the clear, and are authenticated */
void volume_close(struct volume *volume); /* wipes the keys; what was not committed is forgotten */

struct volume_space {
    u64 blocks, free; /* of the file that holds it: free ones are used before it grows */
    u64 inodes, inodes_free;
};
void volume_space(const struct volume *volume, struct volume_space *space);

/* Names are bytes, not terminated. */
struct name {
    const u8 *bytes;
    size_t length;
};

NODISCARD long volume_find(struct volume *volume, u64 directory, struct name name); /* the inode */
NODISCARD long volume_make(struct volume *volume, u64 directory, struct name name, u32 mode, u32 uid, u32 gid); /* the inode */
NODISCARD long volume_make_nameless(struct volume *volume, u32 mode, u32 uid, u32 gid); /* the inode, for volume_link or volume_release */
NODISCARD long volume_link(struct volume *volume, u64 inode, u64 directory, struct name name);
/* An inode without a name stays until volume_release: somebody may have it open. */
NODISCARD long volume_remove(struct volume *volume, u64 directory, struct name name);
NODISCARD long volume_rename(struct volume *volume, u64 from, struct name old, u64 to, struct name new);
NODISCARD long volume_release(struct volume *volume, u64 inode);

NODISCARD long volume_status(struct volume *volume, u64 inode, struct inode *status);
NODISCARD long volume_set_owner(struct volume *volume, u64 inode, u32 mode, u32 uid, u32 gid);
NODISCARD long volume_set_time(struct volume *volume, u64 inode, u64 mtime);

NODISCARD long volume_read(struct volume *volume, u64 inode, u64 offset, u8 *to, size_t size); /* bytes; 0 at the end */
/* The same of what is in the cache, without changing anything, while somebody else may be changing the volume: then it may read nonsense,
 * which the caller must find out, but nothing outside of the volume. -EAGAIN if not all of it is there. peek.c */
NODISCARD long volume_peek(struct volume *volume, u64 inode, u64 offset, u8 *to, size_t size);
NODISCARD long volume_write(struct volume *volume, u64 inode, u64 offset, const u8 *from, size_t size); /* bytes */
NODISCARD long volume_resize(struct volume *volume, u64 inode, u64 size);
/* As lseek(2) has SEEK_DATA and SEEK_HOLE: an offset, or -ENXIO. */
NODISCARD long volume_data_after(struct volume *volume, u64 inode, u64 offset);
NODISCARD long volume_hole_after(struct volume *volume, u64 inode, u64 offset);
/* How many blocks are stored, or will be: never too few; of large files with much in them, as many as the size has. */
NODISCARD u64 volume_stored(struct volume *volume, u64 inode, const struct inode *status);
NODISCARD long volume_punch(struct volume *volume, u64 inode, u64 offset, u64 size); /* zeros there; the size stays */

/* The entry at or after byte `*position` of a directory: 1 and the next position, or 0 at the end. */
NODISCARD long volume_list(struct volume *volume, u64 directory, u64 *position, struct name *name, u64 *inode);

#endif
