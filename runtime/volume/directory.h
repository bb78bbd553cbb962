/* Directories: blocks of entries without gaps. */
#ifndef CLOISTER_VOLUME_DIRECTORY_H
#define CLOISTER_VOLUME_DIRECTORY_H

#include "table.h"

NODISCARD bool name_is_valid(struct name name);
/* The inode that a name names, or -ENOENT, -ENOTDIR. */
NODISCARD long directory_find(struct volume *volume, u64 directory, struct name name);
NODISCARD long directory_add(struct volume *volume, u64 directory, struct name name, u64 inode); /* the name is not there */
NODISCARD long directory_replace(struct volume *volume, u64 directory, struct name name, u64 inode); /* the name is there */
NODISCARD long directory_remove(struct volume *volume, u64 directory, struct name name);
NODISCARD long directory_is_empty(struct volume *volume, u64 directory); /* 1 or 0 */

#endif
