/* SHA-256 of a file's content, which is no secret: by the processor's own instructions, if it has them. */
#ifndef CLOISTER_SHA256_FILE_H
#define CLOISTER_SHA256_FILE_H

#include "sha2.h"

void sha256_file(const void *bytes, size_t size, u8 digest[SHA256_SIZE]);

#endif
