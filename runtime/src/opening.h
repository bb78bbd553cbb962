/* open(2), openat(2), openat2(2) and creat(2), where an enclave has injected files or a manifest. */
#ifndef CLOISTER_OPENING_H
#define CLOISTER_OPENING_H

#include <linux/fcntl.h>

#include "call.h"
#include "state.h"

/* Whether opens must be seen at all. It holds for a whole tree: the filter is inherited. */
static inline bool opening_is_watched(void) { return state.manifest.size || state.files_watched || state.learn[0]; }

/* O_SYNC without writing is the mark of placeholders (placeholder.c): a program's own open never gets it. */
static inline bool opening_is_marked(u64 flags) { return (flags & (O_ACCMODE | O_SYNC | O_PATH)) == O_SYNC; }

/* Makes `path` absolute (the working directory, or that of `directory`) and takes out ".", ".." and doubled slashes, by the text
 * alone. False if it does not fit or the directory has no path. */
NODISCARD bool path_normalise(int directory, const char *path, char out[], size_t size);
/* The path of an open file as the kernel knows it, terminated; its length or -errno. Not deceived by what is mounted on /proc. */
NODISCARD long descriptor_path(int fd, char out[], size_t size);
/* N if `path` is "/proc/self/fd/N" or "/dev/fd/N", else -1. */
NODISCARD int path_descriptor(const char *path);
/* Sets *replayed if the kernel is to answer the call after the handler has returned. */
NODISCARD long opening_call(struct call *call, bool *replayed);

#endif
