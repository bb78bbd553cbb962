/* What code and which measured files may come in. With a manifest (state.manifest.size != 0) the enclave is strict: a path that the
 * manifest names is opened as a sealed copy whose SHA-256 is the manifest's, and nothing else may be mapped executable.
 *
 * The manifest's bytes: u32 flags (0), u32 count, then for each entry u32 length and path, 32 bytes SHA-256; sorted by the encoding
 * of the path in deterministic CBOR (shorter first, then bytewise), without duplicates, without the program itself. A path that
 * ends with a slash closes a directory: nothing under it is opened that is not listed, but directories. Its digest is zeros.
 * `broker`, which is no path, has the X25519 key of the one broker whose secrets are taken. */
#ifndef CLOISTER_ADMISSION_H
#define CLOISTER_ADMISSION_H

#include "call.h"
#include "sha2.h"

enum { NOT_LISTED = -4096 }; /* no errno */

/* Whether the manifest can be read and is in order. */
NODISCARD bool admission_check_manifest(void);
/* The digest that evidence calls `libraries`: SHA-256 of the manifest as a deterministic CBOR map from path to digest. */
void admission_manifest_digest(u8 digest[SHA256_SIZE]);
/* Copies and measures the program of this tree: sets state.root_program and state.root_digest, returns a descriptor of the sealed
 * copy (close-on-exec), or -errno. */
NODISCARD long admission_open_program(const char *path);
/* A sealed, verified copy if `path` (absolute, normalised) is listed or is the program of this tree; NOT_LISTED if it is not;
 * -EACCES if its content is not what was measured (said on standard error); -EROFS if `flags` ask for writing. */
NODISCARD long admission_open(const char *path, u64 flags);
/* The same for a program that is executed: an open sealed copy, or -EACCES and a line on standard error. Takes the lock. */
NODISCARD long admission_open_executable(const char *path);
/* `fd` if it is a sealed copy of a measured file, handed over an execve; else -EACCES. */
NODISCARD long admission_adopt(int fd);
/* Whether this descriptor may be mapped executable: always without a manifest, else only if it is one of those copies. */
NODISCARD bool admission_allows(int fd);
/* Whether there is a manifest. */
NODISCARD bool admission_is_strict(void);
/* Whether ordinary memory may become executable (JIT): not with a manifest. */
NODISCARD bool admission_allows_jit(void);
/* One line on standard error about a mapping that was refused; fd -1: of memory. */
void admission_say_refused(int fd);
/* Whether such a line was written: then the start need not explain once more. */
NODISCARD bool admission_has_spoken(void);
/* At the start of a strict enclave: readable memory is not executable, whatever the process before this one wished. */
void admission_begin(void);
/* personality(2) that would make it so again. */
NODISCARD long admission_personality(u64 wanted);

#endif
