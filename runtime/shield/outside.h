/* Ways past the shields that no volume and no connection answers. */
#ifndef CLOISTER_SHIELD_OUTSIDE_H
#define CLOISTER_SHIELD_OUTSIDE_H

#include "shield.h"

/* Calls that reach the host's files without a path that the shields see, or change what paths and numbers mean: refused, or passed. */
NODISCARD long outside_call(const struct call *call);
/* inotify_add_watch(2), as the calls with a path. */
NODISCARD long outside_watch(struct call *call);

/* harmless.c: a path of the host that a strict enclave may use though no region holds it. */
NODISCARD bool outside_is_harmless(const char *path, u32 flags);
/* A path through a link of a process, which leads past the regions. */
NODISCARD bool outside_is_magic(const char *path, u32 flags);
/* The descriptor that an absolute, plain path names (/proc/self/fd/N, /dev/fd/N, /dev/stdin), or -1. */
NODISCARD int outside_descriptor(const char *path);

/* execution.c: whether `path` may be executed: 0, or -errno. Where the kernel would take it for another file, *full is set and `to` holds
 * the path that is meant; NULL: nobody asks. Takes the lock. */
NODISCARD long outside_execution(int directory, const char *path, char to[PATH_SIZE], bool *full);
/* The same for what the runtime opens itself: an interpreter. Of regions only. */
NODISCARD bool outside_is_shielded(const char *path);

/* socket_place.c: sockets with paths, and descriptors in messages. SHIELD_PASS, or -errno. */
NODISCARD long socket_place_call(const struct call *call);

#endif
