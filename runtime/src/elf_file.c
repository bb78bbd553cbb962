#include "elf_file.h"

#include <asm/stat.h>
#include <linux/mman.h>

struct elf_file elf_scratch AFTER_SMALL("a");

long read_available(int fd, u64 to, u64 length, u64 offset) {
    u64 done = 0;
    while (done < length) {
        long n = SYS4(__NR_pread64, fd, to + done, length - done, offset + done);
        if (n == -EINTR) continue;
        if (failed(n)) return n;
        if (n == 0) break;
        done += (u64)n;
    }
    return (long)done;
}

long read_exactly(int fd, void *to, u64 length, u64 offset) {
    long n = read_available(fd, addr_of(to), length, offset);
    if (failed(n)) return n;
    return (u64)n == length ? 0 : -ENOEXEC;
}

int protection_of(const Elf64_Phdr *segment) {
    return (segment->p_flags & PF_R ? PROT_READ : 0) | (segment->p_flags & PF_W ? PROT_WRITE : 0) |
           (segment->p_flags & PF_X ? PROT_EXEC : 0);
}

static long check_header(const Elf64_Ehdr *header) {
    if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return -ENOEXEC;
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_machine != EM_X86_64) return -ENOEXEC;
    if (header->e_type != ET_EXEC && header->e_type != ET_DYN) return -ENOEXEC;
    if (header->e_phentsize != sizeof(Elf64_Phdr)) return -ELIBBAD;
    if (header->e_phoff >= ADDRESS_LIMIT) return -ELIBBAD;
    if (header->e_phnum == 0 || header->e_phnum > ELF_SEGMENTS_MAX) return -ELIBBAD;
    return 0;
}

/* Memory is taken by what the headers claim, so they may not claim more than there is. */
static long check_extent(const Elf64_Phdr *segment, int fd) {
    struct stat info;
    long error = SYS2(__NR_fstat, fd, &info);
    if (failed(error)) return error;
    return segment->p_offset + segment->p_filesz > (u64)info.st_size ? -ELIBBAD : 0;
}

static long check_load(const Elf64_Phdr *segment, u64 previous_end) {
    if (segment->p_filesz > segment->p_memsz || segment->p_memsz > ADDRESS_LIMIT) return -ELIBBAD;
    if (segment->p_vaddr >= ADDRESS_LIMIT || segment->p_vaddr + segment->p_memsz >= ADDRESS_LIMIT) return -ELIBBAD;
    if (segment->p_offset >= ADDRESS_LIMIT || segment->p_filesz >= ADDRESS_LIMIT) return -ELIBBAD;
    if (segment->p_vaddr % PAGE != segment->p_offset % PAGE) return -ELIBBAD;
    if (page_down(segment->p_vaddr) < previous_end) return -ELIBBAD; /* PT_LOAD must ascend (gABI, Program Loading) */
    return 0;
}

static long read_interpreter(int fd, const Elf64_Phdr *segment, char *to) {
    if (segment->p_filesz < 2 || segment->p_filesz > INTERPRETER_SIZE || segment->p_offset >= ADDRESS_LIMIT) return -ELIBBAD;
    long error = read_exactly(fd, to, segment->p_filesz, segment->p_offset);
    if (failed(error)) return error;
    return to[segment->p_filesz - 1] == 0 ? 0 : -ELIBBAD;
}

long elf_read(int fd, struct elf_file *elf) {
    elf->low = ~0UL;
    elf->high = 0;
    elf->interpreter[0] = 0;
    elf->executable_stack = true; /* what C libraries assume of a file that does not say */
    long error = read_exactly(fd, &elf->header, sizeof elf->header, 0);
    if (!failed(error)) error = check_header(&elf->header);
    if (failed(error)) return error;
    error = read_exactly(fd, elf->segment, elf->header.e_phnum * sizeof(Elf64_Phdr), elf->header.e_phoff);
    for (u16 i = 0; i < elf->header.e_phnum && !failed(error); i++) {
        const Elf64_Phdr *segment = &elf->segment[i];
        if (segment->p_type == PT_GNU_STACK) elf->executable_stack = segment->p_flags & PF_X;
        if (segment->p_type == PT_INTERP) error = read_interpreter(fd, segment, elf->interpreter);
        if (segment->p_type != PT_LOAD || segment->p_memsz == 0) continue;
        error = check_load(segment, elf->high);
        if (!failed(error)) error = check_extent(segment, fd);
        elf->low = min_u64(elf->low, page_down(segment->p_vaddr));
        elf->high = page_up(segment->p_vaddr + segment->p_memsz);
    }
    if (failed(error)) return error;
    return elf->high ? 0 : -ELIBBAD;
}
