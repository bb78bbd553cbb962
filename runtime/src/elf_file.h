/* Reading ELF headers (System V ABI, ELF-64 object file format 1.5), strictly: the file is not trusted. */
#ifndef CLOISTER_ELF_FILE_H
#define CLOISTER_ELF_FILE_H

#include <linux/elf.h>

#include "rt.h"

enum { ELF_SEGMENTS_MAX = 64, INTERPRETER_SIZE = 256 };

struct elf_file {
    u64 low, high;                        /* page-aligned span of the PT_LOAD segments, before relocation */
    bool executable_stack;
    char interpreter[INTERPRETER_SIZE];   /* "" if the program needs none */
    Elf64_Ehdr header;
    Elf64_Phdr segment[ELF_SEGMENTS_MAX]; /* header.e_phnum of them */
};

/* 0, or -ENOEXEC for what is not a loadable 64-bit x86 ELF, -ELIBBAD for one whose headers contradict each other. */
NODISCARD long elf_read(int fd, struct elf_file *elf);
/* For whoever needs one for a moment: owned by whoever holds the lock, and by the start of a program. */
extern struct elf_file elf_scratch;
/* 0, or a read error; a short file is -ENOEXEC. */
NODISCARD long read_exactly(int fd, void *to, u64 length, u64 offset);
/* As much as there is, up to length; the number of bytes or a read error. */
NODISCARD long read_available(int fd, u64 to, u64 length, u64 offset);
NODISCARD int protection_of(const Elf64_Phdr *segment);

#endif
