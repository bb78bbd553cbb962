/* Reading the manifest: its format stands in admission.h. */
#ifndef CLOISTER_MANIFEST_H
#define CLOISTER_MANIFEST_H

#include "sha2.h"

/* Takes the manifest of a strict enclave from a regular file or memfd, and closes it. Ends the process if it is not in order. */
void manifest_take(int fd);
/* The SHA-256 that is listed for this path, or NULL. */
NODISCARD const u8 *manifest_find(const char *path);
/* Whether the path lies in a closed directory. */
NODISCARD bool manifest_closes(const char *path);
/* The X25519 key of the only broker whose secrets are taken, or NULL if it names none. */
NODISCARD const u8 *manifest_broker(void);
NODISCARD bool manifest_has_digest(const u8 digest[SHA256_SIZE]);

#endif
