/* Injected files: files that exist only inside. Their content lies in state.files: u32 count, then for each file u32 length and
 * absolute path, u32 length and content.
 *
 * Opening one gives a real descriptor: a sealed memfd of the same size that holds only zeros, a placeholder. The kernel keeps its
 * offset, its inheritance and its end; only calls that move bytes are intercepted and get the true content. */
#ifndef CLOISTER_FILES_H
#define CLOISTER_FILES_H

#include "call.h"

enum { NOT_INJECTED = -4096 }; /* no errno */

/* Before the program is loaded. Ends the process if state.files cannot be read, or has paths that are not absolute and plain, so
 * that they could never be met. */
void files_begin(void);
/* What stands in state.files is as new as can be: the next second asks nobody for newer content. */
void files_are_fresh(void);
/* A descriptor if `path` (absolute, normalised) is injected, or names a descriptor of an injected file ("/proc/self/fd/N");
 * NOT_INJECTED if it is not, -EACCES if `flags` ask for writing. The lock is held. */
NODISCARD long files_open(const char *path, u64 flags);
/* Calls about paths: stat, access and their kin. */
NODISCARD long files_path_call(struct call *call);
/* Whether the path that this call names (relative to `directory`) is injected. */
NODISCARD bool files_have(struct call *call, int directory, const char *path);
/* Calls about descriptors (read, pread64, readv, dup2, ...): *replayed if the kernel is to answer. */
/* dup2(2) and dup3(2) of an injected file: false if it is none. With the lock held. */
NODISCARD bool files_duplicate(const struct call *call, long *result);
void files_descriptor_call(struct call *call, long *result, bool *replayed);
/* The same from a patched site: the kernel's answer if it is none. */
long files_descriptor_in_place(struct call *call);
/* Whether it is one of these calls, and there are injected files: then what the shields leave to the kernel is not the kernel's yet. */
NODISCARD bool files_want(u64 number);
/* Calls that may bring descriptors of other processes; the kernel answers them. */
void files_receive(struct call *call);
/* For mmap, with the lock held: whether fd is a placeholder (0), NOT_INJECTED, or -errno: one whose content cannot be given. */
NODISCARD long files_mappable(int fd);
/* Fills [at, at + length) with its content from `offset`. */
void files_fill(int fd, u64 at, u64 length, u64 offset);

#endif
