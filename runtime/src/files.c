#include "files.h"

#include <linux/fcntl.h>

#include "../shield/shield.h"
#include "block.h"
#include "fail.h"
#include "filter.h"
#include "opening.h"
#include "placeholder.h"
#include "provision.h"
#include "state.h"

enum { SHORT_PATH = 64, REAL_TIME = 0, MONOTONIC = 1, PATIENCE = 3, RESTS = 4 };

static u64 ask_at; /* not before */
static u64 changed_at; /* the same */
static bool denied;

static bool read_file(struct reader *reader, struct file *out) {
    out->path = read_text(reader, &out->path_size);
    out->content = (const u8 *)read_text(reader, &out->size);
    return !reader->bad;
}

bool file_at(u32 index, struct file *out) {
    struct reader reader = region_read(&state.files);
    u32 count = state.files.size ? read_u32(&reader) : 0;
    if (index >= count) return false;
    for (u32 i = 0; i <= index; i++)
        if (!read_file(&reader, out)) return false;
    out->index = index;
    return true;
}

bool file_called(const char *path, struct file *out) {
    struct reader reader = region_read(&state.files);
    u32 count = state.files.size ? read_u32(&reader) : 0;
    size_t size = strlen(path);
    for (u32 i = 0; i < count && read_file(&reader, out); i++) {
        out->index = i;
        if (out->path_size == size && memcmp(out->path, path, size) == 0) return true;
    }
    return false;
}

/* Whether there was such a file, and the broker took it away: block_renew_files. */
static bool is_gone(const char *path) {
    struct reader reader = region_read(&state.files);
    u32 count = state.files.size ? read_u32(&reader) : 0;
    size_t size = strlen(path);
    struct file file;
    for (u32 i = 0; i < count && read_file(&reader, &file); i++)
        if (file.path_size == size + 1 && memcmp(file.path, path, size + 1) == 0) return true;
    return false;
}

static bool is_plain(const struct file *file) {
    char path[PATH_SIZE], plain[PATH_SIZE];
    if (file->path_size >= PATH_SIZE || file->path_size < 2 || file->path[0] != '/') return false;
    memcpy(path, file->path, file->path_size);
    path[file->path_size] = 0;
    size_t length = file->path_size - !path[file->path_size - 1]; /* one that is gone has a NUL */
    return strlen(path) == length && path_normalise(AT_HERE, path, plain, sizeof plain) && same_string(path, plain);
}

static bool check(void) {
    struct reader reader = region_read(&state.files);
    u32 count = read_u32(&reader);
    for (u32 i = 0; i < count; i++) {
        struct file file;
        if (!read_file(&reader, &file) || !is_plain(&file)) return false;
    }
    return !reader.bad && reader.at == reader.end;
}

void files_begin(void) {
    if (state.files.size && !check()) fail(CLOISTER_EXIT_INTERNAL, "the injected files have no absolute, plain paths", 0, NULL);
    state.files_watched = state.files.size || filter_files_base();
}

static u64 seconds(int clock) {
    u64 now[2] = {0, 0};
    SYS2(__NR_clock_gettime, clock, now);
    return now[0];
}

void files_are_fresh(void) { ask_at = seconds(MONOTONIC) + 1; }

u64 files_changed_at(void) {
    if (!changed_at) changed_at = seconds(REAL_TIME);
    return changed_at;
}

static u64 digest(void) {
    const struct file all = {.content = ptr_of(state.files.at), .size = (u32)state.files.size, .path = ""};
    return placeholder_mac(&all);
}

/* A session's secrets may be rotated, or access to them end, while the program runs: it learns of that by opening the file again.
 * That the broker cannot be asked changes nothing. */
static long refresh(void) {
    if (!state.attester[0]) return 0;
    u64 now = seconds(MONOTONIC);
    if (now < ask_at) return denied ? -EACCES : 0;
    u64 before = digest();
    long answer = provision_refresh();
    if (answer != -EAGAIN) denied = failed(answer);
    if (answer == -EACCES) block_end_files();
    u64 end = seconds(MONOTONIC), took = end - now;
    ask_at = end + (took > PATIENCE ? RESTS * took : 1); /* a carrier that was stopped must not stop the program at each open */
    if (digest() != before) changed_at = 0;
    placeholder_forget_tags();
    return denied ? -EACCES : 0;
}

/* What follows "/proc/self/", by its other names too: of this thread, and by this process's own number. Or NULL. */
static const char *below_own(const char *path) {
    static const char self[] = "/proc/self/", thread[] = "/proc/thread-self/";
    char own[SHORT_PATH];
    size_t at = append_number(own, append(own, 0, sizeof own, "/proc/"), sizeof own, (u64)SYS0(__NR_getpid));
    append(own, at, sizeof own, "/");
    const char *below = starts_with(path, self)     ? path + sizeof self - 1
                        : starts_with(path, thread) ? path + sizeof thread - 1
                        : starts_with(path, own)    ? path + at + 1
                                                    : NULL;
    if (!below || !starts_with(below, "task/")) return below;
    for (below += 5; *below >= '0' && *below <= '9';) below++; /* threads share their descriptors */
    return *below == '/' ? below + 1 : NULL;
}

/* "/dev/stdin" and the names of descriptors in /proc. */
int file_descriptor_in(const char *path) {
    static const char *const standard[] = {"/dev/stdin", "/dev/stdout", "/dev/stderr"};
    char own[SHORT_PATH];
    for (int i = 0; i < 3; i++)
        if (same_string(path, standard[i])) return i;
    const char *below = below_own(path);
    if (!below || !starts_with(below, "fd/")) return path_descriptor(path);
    append(own, append(own, 0, sizeof own, "/dev/fd/"), sizeof own, below + 3);
    return path_descriptor(own);
}

/* Another process's placeholder: the kernel would open it as the zeros that it is. */
static bool leads_to_placeholder(const char *path) {
    static const char expected[] = "/memfd:" CLOISTER_MEMFD_FILE " (deleted)";
    char link[sizeof expected + 1];
    if (!starts_with(path, "/proc/")) return false;
    long n = SYS3(__NR_readlink, path, link, sizeof link);
    return n == sizeof expected - 1 && memcmp(link, expected, sizeof expected - 1) == 0;
}

static long check_flags(u64 flags) {
    if (flags & O_DIRECTORY) return -ENOTDIR;
    if (flags & O_CREAT && flags & O_EXCL) return -EEXIST;
    return (flags & O_ACCMODE) != O_RDONLY || flags & (O_TRUNC | O_PATH) ? -EACCES : 0;
}

long files_open(const char *path, u64 flags) {
    struct file file;
    int named = file_descriptor_in(path);
    long error = named >= 0 ? placeholder_find(named, &file) : file_called(path, &file) || is_gone(path) ? 0 : NOT_INJECTED;
    if (named < 0 && error && leads_to_placeholder(path)) return -EACCES;
    if (error) return error;
    error = check_flags(flags);
    if (!failed(error) && named < 0) error = refresh();
    if (failed(error)) return error;
    if (named < 0 && !file_called(path, &file)) return -ENOENT; /* it is gone */
    return placeholder_open(&file, flags);
}

long files_mappable(int fd) {
    struct file file;
    return state.files_watched ? placeholder_find(fd, &file) : NOT_INJECTED;
}

void files_fill(int fd, u64 at, u64 length, u64 offset) {
    struct file file;
    if (shield_is_on() && shield_mappable(fd, 0, false) != SHIELD_PASS) {
        if (failed(shield_fill(fd, at, length, offset))) memset(ptr_of(at), 0, length);
        return;
    }
    if (placeholder_find(fd, &file) || offset >= file.size) return;
    memcpy(ptr_of(at), file.content + offset, min_u64(length, file.size - offset));
}
