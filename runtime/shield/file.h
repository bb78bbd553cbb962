/* What the files of the file shield share. All with the lock held and the volume entered, unless it says otherwise. */
#ifndef CLOISTER_SHIELD_FILE_H
#define CLOISTER_SHIELD_FILE_H

#include "location.h"

/* The calls by path. The result, or SHIELD_PASS after which call->arg may name another path for the kernel. */
NODISCARD long file_open_call(struct call *call);
NODISCARD long file_status_call(struct call *call);
NODISCARD long file_change_call(struct call *call);
/* Those by descriptor, which `file_call` shares out. */
/* Without the lock: how many bytes, or SHIELD_PASS: only file_call can tell. */
NODISCARD long file_peek(const struct call *call, u64 fd);
NODISCARD long file_transfer_call(struct call *call, int fd, const struct shielded *entry);
NODISCARD long file_seek_call(struct call *call, int fd, const struct shielded *entry);
NODISCARD long file_list_call(struct call *call, int fd, const struct shielded *entry);
/* Fills *info, as stat(2) has it; `to` is the program's memory. */
NODISCARD long file_tell_status(const struct location *location, u64 to);
NODISCARD long file_tell_extended(const struct location *location, u64 to);
NODISCARD long file_tell_system(u64 to);
/* One more that has it open, or one less, so that it lives on without a name. The volume may be entered, if it is this one's; what is no
 * file any more is held by nobody. */
void file_hold(const struct shielded *entry, bool more);
/* `path` is where it was: becomes where it is. False if it has no name any more, or none that is found. No volume is entered. */
NODISCARD bool file_path_now(const struct shielded *entry, char path[PATH_SIZE]);
/* readlink(2) of an open file's link, an absolute path, without a volume entered. SHIELD_PASS if it is none. */
NODISCARD long file_tell_path(const char *link, u64 to, u64 size);
/* sendfile(2) from such a descriptor, and copy_file_range(2) between two. Without the lock. */
NODISCARD long file_send(struct call *call, int fd);
NODISCARD long file_copy(struct call *call);
/* fsync(2): of the whole volume, after what was stored in mappings of this file. */
NODISCARD long file_sync(const struct location *location);
/* ftruncate(2) and its kind, of an inode that may be written to. */
NODISCARD long file_resize(const struct location *location, u64 size);
NODISCARD long file_set_mode(struct location *location, u64 mode);
NODISCARD long file_set_owner(struct location *location, u64 uid, u64 gid);
NODISCARD long file_drop_privileges(const struct location *location);
NODISCARD long file_set_times(struct location *location, u64 times);

#endif
