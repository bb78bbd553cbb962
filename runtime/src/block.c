#include "block.h"

#include "fail.h"
#include "state.h"

static __attribute__((noreturn)) void damaged(void) { fail(CLOISTER_EXIT_INTERNAL, "the start block is damaged", 0, NULL); }

static void take_words(struct reader *reader, struct program_stack *stack, struct words *list, u32 count) {
    for (u32 i = 0; i < count && !reader->bad; i++) {
        u32 size;
        const char *text = read_text(reader, &size);
        if (text) memcpy(stack_new_word(stack, list, size), text, size);
    }
}

static bool skip_words(struct reader *reader, u32 count) {
    u32 size;
    while (count-- && !reader->bad) (void)read_text(reader, &size);
    return !reader->bad;
}

static u32 read_count(struct reader *reader) {
    u32 count = read_u32(reader);
    if (count > CLOISTER_START_MAX_STRINGS) reader->bad = true;
    return reader->bad ? 0 : count;
}

static void enter_directory(struct reader *reader) {
    u32 size;
    char path[PATH_SIZE];
    const char *text = read_text(reader, &size);
    if (!text || size >= PATH_SIZE) damaged();
    memcpy(path, text, size);
    path[size] = 0;
    if (size && failed(SYS1(__NR_chdir, path)))
        fail_program(CLOISTER_EXIT_NOT_PROVISIONED, path, "the session's working directory cannot be entered here", NULL);
}

static void keep(struct region *into, const u8 *from, u64 size) {
    long error = region_create(into, size);
    if (failed(error)) fail_secret_memory(error);
    memcpy(ptr_of(into->at), from, size);
}

/* A count and so many pairs of path and content: kept as it is. */
static bool take_files(struct reader *reader, struct region *into) {
    const u8 *start = reader->at;
    u32 count = read_u32(reader);
    if (count > CLOISTER_START_MAX_STRINGS || !skip_words(reader, 2 * count)) return false;
    if (count) keep(into, start, (u64)(reader->at - start));
    return true;
}

/* What is left, if anything is: a length and the shield block. */
static bool take_shield(struct reader *reader, struct region *into) {
    if (reader->at == reader->end) return true;
    u32 size;
    const char *block = read_text(reader, &size);
    if (reader->bad || reader->at != reader->end || !size) return false;
    if (!state.handoff_required) fail(CLOISTER_EXIT_USAGE, "the start block says what is shielded, but --shield is missing", 0, NULL);
    keep(into, (const u8 *)block, size);
    return true;
}

void block_take(struct reader reader, struct program_stack *stack) {
    u32 arguments = read_count(&reader), variables = read_count(&reader);
    take_words(&reader, stack, &stack->arguments, arguments);
    take_words(&reader, stack, &stack->environment, variables);
    if (reader.bad) damaged();
    if (reader.at == reader.end) return;
    enter_directory(&reader);
    if (!take_files(&reader, &state.files) || !take_shield(&reader, &state.shield)) damaged();
}

static bool has_path(const struct region *files, const char *path, u32 size) {
    struct reader reader = region_read(files);
    for (u32 count = files->size ? read_u32(&reader) : 0; count; count--) {
        u32 length, content;
        const char *found = read_text(&reader, &length);
        (void)read_text(&reader, &content);
        if (found && length == size && memcmp(found, path, size) == 0) return true;
    }
    return false;
}

/* Files of before that are not among the renewed ones, each as its path with a NUL behind it and no content: so that the host's file
 * of that name is not taken for it. Returns their size; `to` is NULL if only that is wanted. */
static u64 write_gone(const struct region *renewed, const struct region *before, u8 *to, u32 *gone) {
    struct reader reader = region_read(before);
    u64 size = 0;
    *gone = 0;
    for (u32 left = before->size ? read_u32(&reader) : 0; left; left--) {
        u32 length, content;
        const char *path = read_text(&reader, &length);
        (void)read_text(&reader, &content);
        if (!path || !length) continue;
        u32 plain = path[length - 1] ? length : length - 1, marked = plain + 1;
        if (has_path(renewed, path, plain)) continue;
        if (to) {
            memcpy(to + size, &marked, sizeof marked);
            memcpy(to + size + sizeof marked, path, plain); /* the region is zeros: NUL and length 0 stand there */
        }
        size += sizeof marked + marked + sizeof content;
        ++*gone;
    }
    return size;
}

static long keep_gone(struct region *renewed, const struct region *before) {
    u32 gone, count = 0;
    u64 more = write_gone(renewed, before, NULL, &gone), own = max_u64(renewed->size, sizeof count);
    struct region all = {0};
    if (!gone) return 0;
    long error = region_create(&all, own + more);
    if (failed(error)) return error;
    u8 *to = ptr_of(all.at);
    if (renewed->size) memcpy(to, ptr_of(renewed->at), own);
    (void)write_gone(renewed, before, to + own, &gone);
    memcpy(&count, to, sizeof count);
    count += gone;
    memcpy(to, &count, sizeof count);
    region_drop(renewed);
    *renewed = all;
    return 0;
}

void block_end_files(void) {
    struct region ended = {0};
    if (failed(keep_gone(&ended, &state.files))) return;
    region_drop(&state.files);
    state.files = ended;
}

/* What is shielded stays as it was at the start. */
static bool skip_shield(struct reader *reader) {
    u32 size;
    if (reader->at != reader->end) (void)read_text(reader, &size);
    return !reader->bad && reader->at == reader->end;
}

bool block_renew_files(struct reader reader) {
    struct region renewed = {0};
    u32 arguments = read_count(&reader), variables = read_count(&reader), size;
    if (!skip_words(&reader, arguments) || !skip_words(&reader, variables) || !read_text(&reader, &size)) return false;
    if (!take_files(&reader, &renewed) || !skip_shield(&reader)) return false;
    if (failed(keep_gone(&renewed, &state.files))) {
        region_drop(&renewed);
        return false;
    }
    region_drop(&state.files);
    state.files = renewed;
    return true;
}

static u64 read_to_end(int fd, u8 *to, u64 room) {
    for (u64 done = 0;;) {
        long n = SYS3(__NR_read, fd, to + done, room - done);
        if (n == -EINTR) continue;
        if (failed(n)) fail(CLOISTER_EXIT_INTERNAL, "the start block cannot be read", n, NULL);
        if (n == 0) return done;
        done += (u64)n;
        if (done == room) damaged();
    }
}

void block_take_from(int fd, struct program_stack *stack) {
    struct region block = {0};
    long error = region_create(&block, CLOISTER_FRAME_MAX_BYTES);
    if (failed(error)) fail_secret_memory(error);
    struct reader reader = region_read(&block);
    reader.end = reader.at + read_to_end(fd, ptr_of(block.at), block.size);
    SYS1(__NR_close, fd);
    block_take(reader, stack);
    if (!stack->arguments.count) fail(CLOISTER_EXIT_INTERNAL, "the start block names no program", 0, NULL);
    region_drop(&block);
}
