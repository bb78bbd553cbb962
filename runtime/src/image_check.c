#include "image_check.h"

#include <asm/stat.h>
#include <linux/mman.h>

#include "image.h"
#include "patch.h"

enum { SEEK_TO_DATA = 3, SEEK_TO_HOLE = 4 };

/* A file mapped to be looked at. `at` is NULL if it could not be, or if it is not as long as it should be. */
struct view {
    const u8 *at;
    u64 length;
};

static struct view look_at(int fd, u64 length, u64 offset, u64 populated) {
    struct stat info;
    if (failed(SYS2(__NR_fstat, fd, &info)) || page_up((u64)info.st_size) < offset + length) return (struct view){0};
    long at = SYS6(__NR_mmap, 0, length, PROT_READ, MAP_SHARED, fd, offset);
    if (failed(at)) return (struct view){0};
    if (populated) SYS3(__NR_madvise, at, populated, MADV_POPULATE_READ);
    return (struct view){ptr_of((u64)at), length};
}

static void look_away(const struct view *view) {
    if (view->at) SYS2(__NR_munmap, view->at, view->length);
}

static u64 first_difference(const u8 *a, const u8 *b, u64 from, u64 to) {
    typedef u64 __attribute__((may_alias, aligned(1))) loose_word;
    while (from + 8 <= to && *(const loose_word *)(a + from) == *(const loose_word *)(b + from)) from += 8;
    while (from < to && a[from] == b[from]) from++;
    return from;
}

static bool is_zero(const u8 *at, u64 length) {
    for (u64 i = 0; i < length; i++)
        if (at[i]) return false;
    return true;
}

static const Elf64_Phdr *text_at(const struct elf_file *elf, u64 offset, bool linear) {
    for (u16 i = 0; i < elf->header.e_phnum; i++) {
        const Elf64_Phdr *segment = &elf->segment[i];
        if (image_is_patched(elf, segment, linear) && offset >= segment->p_offset && offset - segment->p_offset < segment->p_filesz)
            return segment;
    }
    return NULL;
}

/* Steps over a difference if it is a patched site; counts it. */
static bool step_over_site(const struct view *image, const struct view *source, const struct elf_file *elf, u64 span, bool linear,
                           u64 *at, u64 *used) {
    const Elf64_Phdr *text = text_at(elf, *at, linear);
    if (!text) return false;
    struct patch_target target = {
        .text = addr_of(image->at) + text->p_offset, .length = text->p_filesz, .stubs = addr_of(image->at) + span,
        .text_from_base = text->p_vaddr - elf->low, .stubs_from_base = span, .used = *used};
    u64 offset = *at - text->p_offset;
    if (!patch_is_right(&target, source->at + text->p_offset, &offset)) return false;
    *at = text->p_offset + offset;
    *used = target.used;
    return true;
}

static bool same_image(const struct view *image, const struct view *source, const struct elf_file *elf, u64 span, bool linear) {
    u64 used = 0;
    for (u64 at = 0; (at = first_difference(image->at, source->at, at, source->length)) < source->length;)
        if (!step_over_site(image, source, elf, span, linear, &at, &used)) return false;
    return patch_stubs_are_right(image->at + span, used);
}

/* Between the file's bytes and the stubs nobody has written: there is a hole, or what is left of a huge page. */
static bool has_nothing(int image, const u8 *at, u64 from, u64 to) {
    while (from < to) {
        long data = SYS3(__NR_lseek, image, from, SEEK_TO_DATA);
        if (data == -ENXIO || (!failed(data) && (u64)data >= to)) return true;
        long hole = failed(data) ? data : SYS3(__NR_lseek, image, data, SEEK_TO_HOLE);
        if (failed(hole)) return false;
        u64 end = min_u64((u64)hole, to);
        if (!is_zero(at + data, end - (u64)data)) return false;
        from = end;
    }
    return true;
}

bool image_is_right(int image, int file, const struct elf_file *elf, u64 extent, u64 span, bool linear) {
    struct view copy = look_at(image, span + patch_room(), 0, extent), source = look_at(file, extent, 0, extent);
    bool right = copy.at && source.at && has_nothing(image, copy.at, extent, span) && same_image(&copy, &source, elf, span, linear);
    look_away(&copy);
    look_away(&source);
    return right;
}

bool piece_is_right(int piece, int file, u64 length, u64 copied, u64 offset) {
    u64 last = page_up(copied);
    struct view copy = look_at(piece, length, 0, last);
    struct view source = copied ? look_at(file, last, offset, 0) : (struct view){0};
    bool right = copy.at && (!copied || source.at) && first_difference(copy.at, source.at, 0, copied) == copied &&
                 is_zero(copy.at + copied, last - copied) && has_nothing(piece, copy.at, last, length);
    look_away(&copy);
    look_away(&source);
    return right;
}
