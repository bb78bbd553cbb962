/* A volume that is open for reading and writing: docs/formats/volume.md.
 *
 * Nothing on the disk that the last committed state uses is ever written over, so whatever happens, the volume is as it was at the
 * last volume_commit. All calls return a negative errno on failure; -EBADMSG says that the disk does not hold what was written.
 * One caller at a time: whoever shares a volume locks it. */
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
    void (*random)(void *context, u8 *to, size_t size);
    u64 (*now)(void *context);                            /* nanoseconds since 1970 */
};

struct volume_root {
    u64 generation;
    u8 digest[32]; /* SHA-256 of the superblock */
};

/* `memory` (zeroed, 4 KiB aligned) is the volume's for as long as it is open; more of it is more cache. */
NODISCARD long volume_open(struct volume **opened, const struct volume_io *io, const u8 key[32], void *memory, size_t size);
NODISCARD long volume_commit(struct volume *volume);
void volume_root(const struct volume *volume, struct volume_root *root);
void volume_close(struct volume *volume); /* wipes the keys; what was not committed is forgotten */

/* Names are bytes, not terminated. */
struct name {
    const u8 *bytes;
    size_t length;
};

NODISCARD long volume_find(struct volume *volume, u64 directory, struct name name); /* the inode */
NODISCARD long volume_make(struct volume *volume, u64 directory, struct name name, u32 mode, u32 uid, u32 gid); /* the inode */
NODISCARD long volume_link(struct volume *volume, u64 inode, u64 directory, struct name name);
/* An inode without a name stays until volume_release: somebody may have it open. */
NODISCARD long volume_remove(struct volume *volume, u64 directory, struct name name);
NODISCARD long volume_rename(struct volume *volume, u64 from, struct name old, u64 to, struct name new);
NODISCARD long volume_release(struct volume *volume, u64 inode);

NODISCARD long volume_status(struct volume *volume, u64 inode, struct inode *status);
NODISCARD long volume_set_owner(struct volume *volume, u64 inode, u32 mode, u32 uid, u32 gid);
NODISCARD long volume_set_time(struct volume *volume, u64 inode, u64 mtime);

NODISCARD long volume_read(struct volume *volume, u64 inode, u64 offset, u8 *to, size_t size); /* bytes; 0 at the end */
NODISCARD long volume_write(struct volume *volume, u64 inode, u64 offset, const u8 *from, size_t size); /* bytes */
NODISCARD long volume_resize(struct volume *volume, u64 inode, u64 size);

/* The entry at or after byte `*position` of a directory: 1 and the next position, or 0 at the end. */
NODISCARD long volume_list(struct volume *volume, u64 directory, u64 *position, struct name *name, u64 *inode);

#endif
