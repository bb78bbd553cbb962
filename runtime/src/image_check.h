/* Whether a sealed copy holds what it was made from. Until the seal an administrator can write into a memfd of ours (through
 * /proc/PID/fd), so in a strict enclave, whose files were measured, the copy is compared afterwards. */
#ifndef CLOISTER_IMAGE_CHECK_H
#define CLOISTER_IMAGE_CHECK_H

#include "elf_file.h"

/* The image that image_build made of `file`: its bytes up to `extent`, patched sites and their stubs at `span`, nothing else. */
NODISCARD bool image_is_right(int image, int file, const struct elf_file *elf, u64 extent, u64 span, bool linear);
/* The piece that image_map_piece made: `copied` bytes from `offset`, then zeros. */
NODISCARD bool piece_is_right(int piece, int file, u64 length, u64 copied, u64 offset);

#endif
