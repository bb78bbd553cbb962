/* Injected files: files that exist only inside. Their content lies in state.files: u32 count, then for each file u32 length and
 * absolute path, u32 length and content.
 *
 * Opening one gives a real descriptor: a sealed memfd of the same size that holds only zeros. The kernel keeps its offset, its
 * inheritance and its end; only calls that move bytes are intercepted and get the true content. */
#ifndef CLOISTER_FILES_H
#define CLOISTER_FILES_H

#include "call.h"

enum { NOT_INJECTED = -4096 }; /* no errno */

/* Whether state.files can be read. */
NODISCARD bool files_check(void);
/* A descriptor if `path` (absolute, normalised) is injected, NOT_INJECTED if it is not, -EACCES if `flags` ask for writing. */
NODISCARD long files_open(const char *path, u64 flags);
/* Calls about paths (stat, access and their kin) and about descriptors (read, pread64, readv, dup2, ...). */
long files_path_call(struct call *call);
void files_descriptor_call(struct call *call, long *result, bool *replayed);
/* For mmap of an injected file: fills [at, at + length) with its content from `offset`. False if fd is no injected file. */
NODISCARD bool files_fill(int fd, u64 at, u64 length, u64 offset);

#endif
