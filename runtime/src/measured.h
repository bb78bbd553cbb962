/* Sealed copies of measured files. What is hashed is what is used, whatever becomes of the file meanwhile: the copy is sealed
 * first, and hashed then. */
#ifndef CLOISTER_MEASURED_H
#define CLOISTER_MEASURED_H

#include "sha2.h"

/* All are called with the lock held, or before there are threads. */

/* Copies a regular file, as open(2) with these flags would find it. Returns a read-only descriptor of the copy, close-on-exec if
 * the flags say so, or -errno; -EACCES for what is no regular file. */
NODISCARD long measured_copy(const char *path, u64 flags, u8 digest[SHA256_SIZE]);
/* Hashes a descriptor that is a sealed copy already (made before an execve): 0, or -EACCES if it is none. */
NODISCARD long measured_adopt(int fd, u8 digest[SHA256_SIZE]);
/* Whether this descriptor is one of those copies. */
/* From now on this copy is known: it is what was expected. */
void measured_accept(int fd);
NODISCARD bool measured_is_copy(int fd);

#endif
