/* Where a path of the program leads: to the kernel, or to an inode of a region's volume. By the path's text, made absolute and plain,
 * so that no symbolic link of the host, mount or rename leads into or out of a region; symbolic links inside a volume are followed. */
#ifndef CLOISTER_SHIELD_LOCATION_H
#define CLOISTER_SHIELD_LOCATION_H

#include "mount.h"
#include "shield.h"

enum location_flag {
    LOCATION_FOLLOW = 1,  /* a symbolic link at the end */
    LOCATION_CHANGES = 2, /* something will be written to the volume */
    LOCATION_PARENT = 4,  /* the last name need not exist */
    LOCATION_NAME = 8,    /* the last name itself is meant: a slash behind it follows no link, and what it says of the type is the caller's */
    LOCATION_FILE = 16,   /* a file will be made: a slash behind its name is wrong whatever is there */
};

enum may { MAY_EXECUTE = 1, MAY_WRITE = 2, MAY_READ = 4 };

struct location {
    const struct shield_files *region;
    struct mount *mount;
    struct volume *volume;
    const char *full;      /* absolute and plain, also where it leads to the kernel ("" if that is not known); the caller's until the next location_enter with the same buffer */
    u64 native;            /* SHIELD_PASS: the path for the kernel: the program's own pointer, or `full` */
    struct name last;      /* empty: the region itself */
    u64 directory, inode;  /* inode 0: there is no such file; directory 0: the region itself */
    struct inode status;   /* of inode */
    bool ends_in_slash;    /* so it must be a directory */
    bool too_long;         /* the last name, which nothing can have */
    bool linkable;         /* an open file that never had a name, and may get one */
    u8 dots;               /* the path ends in "." (1) or ".." (2) */
};

/* At the start of every image: the volumes, which nobody has touched yet. Ends the process if one cannot be used. */
void location_begin(void);
/* What stands in mappings reaches the volumes. */
NODISCARD long location_store_mapped(void);
/* sync(2): of the volumes that this process has used. */
NODISCARD long location_sync_all(void);
/* The region's volume if it is entered now, else NULL. */
struct mount *location_entered(u32 region);
/* Without the lock: the region's volume, if whoever changes it takes the lock of this process; else NULL. */
struct volume *location_peek(u32 region);
/* Whether a call's argument is the text of a path in the runtime's buffers: `native` of a location. */
NODISCARD bool location_is_text(u64 address);
/* With the lock held. 0: the volume is entered, and location_leave must follow. SHIELD_PASS: nothing is shielded there. Else -errno. */
NODISCARD long location_enter(struct location *location, int directory, u64 path, u32 flags);
/* The same for a path that stands in the runtime's own memory. */
NODISCARD long location_enter_text(struct location *location, int directory, const char *path, u32 flags);
/* The same for two paths at once (link, rename): the second's text is kept apart. SHIELD_PASS if neither is shielded, -EXDEV if they
 * are of different volumes. One location_leave, of the first. */
NODISCARD long location_enter_two(struct location *one, struct location *other, const int directories[2], const u64 paths[2], const u32 flags[2]);
/* The same where the first is an open file (linkat). */
NODISCARD long location_enter_open_and(struct location *one, struct location *other, const struct shielded *entry, int directory, u64 path, u32 flags);
/* An open descriptor of a file. */
NODISCARD long location_enter_open(struct location *location, const struct shielded *entry, bool changes);
/* Returns `result`, or the error of leaving. */
long location_leave(struct location *location, long result);

/* location.c, for the walk: the volume is entered; the inode's status. */
NODISCARD long location_enter_region(struct location *location, const struct shield_files *region, bool changes);
NODISCARD long location_look(struct location *location, u64 inode);
static inline bool location_is_shielded(const struct shield_files *region) { return region && region->kind != FILES_PLAIN; }

NODISCARD long location_require_directory(const struct location *location);
/* Whether who runs may do that to the inode: 0 or -EACCES; -EROFS for writing where the region is read-only. */
NODISCARD long location_may(const struct location *location, const struct inode *status, u32 what);
/* Whether it may be changed by its owner's means (chmod, utimes). */
NODISCARD long location_owns(const struct location *location);
/* Whether an entry may be added to or taken from the directory `location` ends in. `victim`: what would be taken away, or NULL. */
NODISCARD long location_may_change_directory(const struct location *location, const struct inode *victim);
/* Whether who runs has euid 0: then permissions do not count. */
NODISCARD bool location_is_root(void);
/* The region of an absolute, plain path, or NULL. */
const struct shield_files *location_region(const char *path);

#endif
