/* Loading a program: its file, its interpreter, its stack. */
#ifndef CLOISTER_LOAD_H
#define CLOISTER_LOAD_H

#include "elf_file.h"

struct loaded {
    u64 base, entry, headers, header_count;
};

/* Maps the PT_LOAD segments of an open ELF file; -errno if the memory cannot be had. */
NODISCARD long load_image(int fd, const struct elf_file *elf, struct loaded *out);

#endif
