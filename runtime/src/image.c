#include "image.h"

#include <asm/stat.h>
#include <linux/mman.h>

#include "admission.h"
#include "areas.h"
#include "image_check.h"
#include "patch.h"
#include "sealed.h"
#include "state.h"

struct known_image {
    u64 start, length, device, inode;
};

enum { KNOWN_IMAGES = 32 };
static struct known_image known[KNOWN_IMAGES];
static size_t next_known;

static long close_with(long fd, long error) {
    SYS1(__NR_close, fd);
    return error;
}

bool image_is_patched(const struct elf_file *elf, const Elf64_Phdr *segment, bool linear) {
    bool text = segment->p_type == PT_LOAD && segment->p_flags & PF_X && !(segment->p_flags & PF_W);
    return text && (!linear || segment->p_vaddr - elf->low == segment->p_offset);
}

static void patch_segments(const struct elf_file *elf, u64 at, u64 span, bool linear) {
    struct patch_target target = {.stubs = at + span, .stubs_from_base = span};
    for (u16 i = 0; i < elf->header.e_phnum; i++) {
        const Elf64_Phdr *segment = &elf->segment[i];
        if (!image_is_patched(elf, segment, linear)) continue;
        target.text = at + segment->p_offset;
        target.text_from_base = segment->p_vaddr - elf->low;
        target.length = segment->p_filesz;
        patch_sites(&target);
    }
}

static u64 file_extent(const struct elf_file *elf) {
    u64 extent = 0;
    for (u16 i = 0; i < elf->header.e_phnum; i++) {
        const Elf64_Phdr *segment = &elf->segment[i];
        if (segment->p_type == PT_LOAD && !(segment->p_flags & PF_W))
            extent = max_u64(extent, page_up(segment->p_offset + segment->p_filesz));
    }
    return extent;
}

long image_build(int file, const struct elf_file *elf, u64 span, bool linear) {
    u64 extent = file_extent(elf);
    if (extent > span) return -ELIBBAD;
    struct draft draft;
    long error = draft_begin(&draft, span + patch_room(), extent);
    if (failed(error)) return error;
    error = draft_fill(&draft, file, extent, 0);
    if (!failed(error)) patch_segments(elf, draft.at, span, linear);
    long fd = draft_end(&draft, error);
    if (!failed(fd) && admission_is_strict() && !image_is_right((int)fd, file, elf, extent, span, linear)) return close_with(fd, -EIO);
    return fd;
}

/* How much of [offset, offset + length) the file has. Memory is taken for that, not for what the caller asks for. */
static u64 part_of(int file, u64 length, u64 offset) {
    struct stat info;
    if (failed(SYS2(__NR_fstat, file, &info)) || (u64)info.st_size <= offset) return 0;
    return min_u64(length, (u64)info.st_size - offset);
}

long image_map_piece(u64 address, u64 length, int protection, int extra_flags, int file, u64 offset) {
    struct draft draft;
    u64 part = part_of(file, length, offset);
    long error = draft_begin(&draft, length, part);
    if (failed(error)) return error;
    long copied = draft_fill(&draft, file, part, offset), fd = draft_end(&draft, copied);
    if (failed(fd)) return fd;
    if (admission_is_strict() && !piece_is_right((int)fd, file, length, (u64)copied, offset)) return close_with(fd, -EIO);
    return close_with(fd, SYS6(__NR_mmap, address, length, protection, MAP_SHARED | extra_flags, fd, 0));
}

bool is_elf(int file) {
    char magic[SELFMAG];
    return !failed(read_exactly(file, magic, sizeof magic, 0)) && memcmp(magic, ELFMAG, SELFMAG) == 0;
}

bool image_spans(int file, u64 length) {
    return !failed(elf_read(file, &elf_scratch)) && page_up(length) == elf_scratch.high - elf_scratch.low;
}

static void remember(u64 start, u64 length, const struct stat *file) {
    known[next_known++ % KNOWN_IMAGES] =
        (struct known_image){.start = start, .length = length, .device = file->st_dev, .inode = file->st_ino};
}

long image_map_whole(u64 length, int protection, int file) {
    struct stat info;
    long error = SYS2(__NR_fstat, file, &info);
    if (!failed(error)) error = elf_read(file, &elf_scratch);
    if (failed(error)) return error;
    u64 span = max_u64(page_up(length), file_extent(&elf_scratch));
    long fd = image_build(file, &elf_scratch, span, true);
    if (failed(fd)) return fd;
    long at = reserve_aligned(span + patch_room(), sealed_alignment(span));
    if (!failed(at)) at = SYS6(__NR_mmap, at, span + patch_room(), PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd, 0);
    SYS1(__NR_close, fd);
    if (failed(at)) return at;
    SYS3(__NR_mprotect, at, length, protection);
    areas_put((u64)at, (u64)at + length, AREA_SEALED, protection);
    remember((u64)at, length, &info);
    return at;
}

bool image_reuse(u64 address, u64 length, int protection, int file, u64 offset) {
    struct stat info;
    if (failed(SYS2(__NR_fstat, file, &info))) return false;
    for (size_t i = 0; i < KNOWN_IMAGES; i++) {
        const struct known_image *image = &known[i];
        if (image->device != info.st_dev || image->inode != info.st_ino) continue;
        if (address - image->start != offset || offset + length > image->length) continue;
        const struct area *area = areas_find(address);
        if (!area || area->kind != AREA_SEALED || area->end < address + length) continue;
        if (failed(SYS3(__NR_mprotect, address, length, protection))) continue;
        areas_protect(address, address + length, protection);
        return true;
    }
    return false;
}
