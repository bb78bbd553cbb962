/* Sealed images: the text and read-only data of a program file, copied into a memfd that nobody can write any more.
 *
 * A shared mapping of a sealed memfd is not copied on write, so ptrace POKE and /proc/PID/mem writes fail; editing the file on
 * disk changes nothing. Hot system-call sites are patched in the copy, before sealing, to call the runtime directly. */
#ifndef CLOISTER_IMAGE_H
#define CLOISTER_IMAGE_H

#include "elf_file.h"

/* Builds the image of an ELF file: offsets in the memfd are offsets in the file, and one page of stubs for the patched sites
 * stands at offset `span`. `linear`: the file will be mapped so that address - base == offset, else address - base ==
 * p_vaddr - low. Returns the memfd, or -errno. */
NODISCARD long image_build(int file, const struct elf_file *elf, u64 span, bool linear);
/* Seals a copy of one range of any file and maps it. */
NODISCARD long image_map_piece(u64 address, u64 length, int protection, int extra_flags, int file, u64 offset);
/* ld.so first maps a whole library read-only, then its segments over it. The first call builds and maps the image; */
NODISCARD long image_map_whole(u64 length, int protection, int file);
/* the second finds that what it wants is there already: only the protection changes. False if it is not there. */
NODISCARD bool image_reuse(u64 address, u64 length, int protection, int file, u64 offset);
NODISCARD bool is_elf(int file);
/* Whether image_build patches call sites in this segment. */
NODISCARD bool image_is_patched(const struct elf_file *elf, const Elf64_Phdr *segment, bool linear);
/* Whether `length` is what the segments of this ELF file span in memory. */
NODISCARD bool image_spans(int file, u64 length);

#endif
