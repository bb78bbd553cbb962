#include "load.h"

#include <linux/mman.h>

#include "admission.h"
#include "areas.h"
#include "image.h"
#include "patch.h"
#include "sealed.h"
#include "secret.h"
#include "state.h"
#include "together.h"

enum { READ_STEP = 32 * PAGE, WORTH_TWO = 128 * PAGE /* a second thread costs some 150 us */ };

/* Its place is reserved twice while it is built, and the program's memory needs one, too. */
#define SPAN_MOST (ADDRESS_LIMIT / 4)

static u64 alignment_of(const struct elf_file *elf) {
    u64 alignment = PAGE;
    for (u16 i = 0; i < elf->header.e_phnum; i++)
        if (elf->segment[i].p_type == PT_LOAD) alignment = max_u64(alignment, elf->segment[i].p_align);
    return alignment > 1UL << 30 || alignment & (alignment - 1) ? PAGE : alignment;
}

/* Room for the whole image and its page of stubs; nothing is accessible in it yet. Returns its address. */
static long reserve_image(const struct elf_file *elf, u64 span) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
    if (elf->header.e_type == ET_EXEC) return SYS6(__NR_mmap, elf->low, span, PROT_NONE, flags, -1, 0);
    return reserve_aligned(span, max_u64(alignment_of(elf), sealed_alignment(span)));
}

/* The file's part of a segment that is written to. First touch of secret pages is what takes long: copier.h. */
struct reading {
    struct work work;
    u64 to, length, offset;
    int file;
    long error;
};

static void read_piece(struct work *work, u64 index) {
    struct reading *reading = (struct reading *)work;
    u64 start = index * READ_STEP, length = min_u64(READ_STEP, reading->length - start);
    long n = read_available(reading->file, reading->to + start, length, reading->offset + start);
    if (failed(n)) __atomic_store_n(&reading->error, n, __ATOMIC_RELAXED);
}

static long read_together(int file, u64 to, u64 length, u64 offset) {
    if (length < WORTH_TWO) return read_available(file, to, length, offset);
    struct reading reading = {.file = file, .to = to, .length = length, .offset = offset};
    reading.work = (struct work){.piece = read_piece, .count = (length + READ_STEP - 1) / READ_STEP};
    together(&reading.work);
    return reading.error;
}

static long map_writable(int fd, const Elf64_Phdr *segment, u64 start, u64 end) {
    int protection = protection_of(segment);
    u64 file_end = start + segment->p_vaddr % PAGE + segment->p_filesz;
    bool executable = protection & PROT_EXEC;
    if (executable && !admission_allows_jit()) { /* it could be changed after it was measured */
        admission_say_refused(-1);
        return -EACCES;
    }
    long at = executable ? SYS6(__NR_mmap, start, end - start, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)
                         : secret_map(start, end - start, PROT_READ | PROT_WRITE, MAP_FIXED);
    if (failed(at)) return at;
    long n = read_together(fd, start, file_end - start, page_down(segment->p_offset));
    if (failed(n)) return n;
    if (executable) state.counters.jit++;
    areas_put(start, end, executable ? AREA_JIT : AREA_SECRET, protection);
    return protection == (PROT_READ | PROT_WRITE) ? 0 : SYS3(__NR_mprotect, start, end - start, protection);
}

/* What a segment has beyond its file: zeros, which the kernel lets the program write whatever the segment's flags say. */
static long map_zeros(u64 start, u64 end) {
    if (start >= end) return 0;
    long at = secret_map(start, end - start, PROT_READ | PROT_WRITE, MAP_FIXED);
    if (failed(at)) return at;
    areas_put(start, end, AREA_SECRET, PROT_READ | PROT_WRITE);
    return 0;
}

static long map_sealed(long image, const Elf64_Phdr *segment, u64 start, u64 end) {
    u64 length = segment->p_filesz ? page_up(segment->p_vaddr % PAGE + segment->p_filesz) : 0;
    int protection = protection_of(segment);
    long error = map_zeros(start + length, end);
    if (failed(error) || !length) return error;
    long at = SYS6(__NR_mmap, start, length, protection, MAP_SHARED | MAP_FIXED, image, page_down(segment->p_offset));
    if (failed(at)) return at;
    areas_put(start, start + length, AREA_SEALED, protection);
    return 0;
}

static long map_segment(int fd, long image, const Elf64_Phdr *segment, u64 base) {
    u64 start = base + page_down(segment->p_vaddr), end = base + page_up(segment->p_vaddr + segment->p_memsz);
    return segment->p_flags & PF_W ? map_writable(fd, segment, start, end) : map_sealed(image, segment, start, end);
}

/* As the kernel finds them (fs/binfmt_elf.c): where they are loaded, whatever PT_PHDR says. */
static u64 headers_address(const struct elf_file *elf, u64 base) {
    u64 offset = elf->header.e_phoff;
    for (u16 i = 0; i < elf->header.e_phnum; i++) {
        const Elf64_Phdr *segment = &elf->segment[i];
        if (segment->p_type == PT_LOAD && segment->p_offset <= offset && offset < segment->p_offset + segment->p_filesz)
            return base + segment->p_vaddr + offset - segment->p_offset;
    }
    return base;
}

static u64 file_reach(const struct elf_file *elf) {
    u64 reach = 0;
    for (u16 i = 0; i < elf->header.e_phnum; i++)
        if (elf->segment[i].p_type == PT_LOAD) reach = max_u64(reach, elf->segment[i].p_offset + elf->segment[i].p_filesz);
    return page_up(reach);
}

long load_image(int fd, const struct elf_file *elf, struct loaded *out) {
    u64 span = max_u64(elf->high - elf->low, file_reach(elf));
    if (span > SPAN_MOST) return -EFBIG;
    long at = reserve_image(elf, span + patch_room());
    if (failed(at)) return at;
    u64 base = (u64)at - elf->low;
    long image = image_build(fd, elf, span, false), error = 0;
    if (failed(image)) return image;
    long stubs = SYS6(__NR_mmap, (u64)at + span, patch_room(), PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, image, span);
    if (failed(stubs)) error = stubs;
    for (u16 i = 0; i < elf->header.e_phnum && !failed(error); i++)
        if (elf->segment[i].p_type == PT_LOAD && elf->segment[i].p_memsz) error = map_segment(fd, image, &elf->segment[i], base);
    SYS1(__NR_close, image);
    *out = (struct loaded){.base = base, .entry = base + elf->header.e_entry, .headers = headers_address(elf, base), .header_count = elf->header.e_phnum};
    return error;
}
