/* Locks of shielded files (flock(2), fcntl(2)): ranges of the ledger, each file its own. The kernel keeps them, among all processes. */
#ifndef CLOISTER_SHIELD_FILE_LOCK_H
#define CLOISTER_SHIELD_FILE_LOCK_H

#include "file.h"

NODISCARD bool file_lock_is(const struct call *call);
NODISCARD long file_lock_call(struct call *call, int fd, const struct shielded *entry, struct later *later);
/* All of this process's record locks on the file are gone: fcntl(2) has it so when any of its descriptors is closed. */
void file_lock_closed(const struct shielded *entry);
void file_lock_forked(void); /* a child has none of its parent's */

#endif
