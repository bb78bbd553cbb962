/* A placeholder is known by what nobody can change, root included: the name of its memfd, which holds the file's index and a MAC of path
 * and content. What root could do, and why it gains nothing:
 *
 * - make a memfd of the same name, or open this one by its link in /proc: the program may open such a link, for a path led there, and
 *   give the content away. So a placeholder is one only if its open file description bears a mark that open(2) does not give:
 *   the signal number of F_SETSIG(2), without meaning for regular files.
 * - take the mark away (pidfd_getfd gives root the description): then reads fail, rather than give zeros.
 * - rotate the content: a placeholder of content that is gone fails with ESTALE. */
#include "placeholder.h"

#include <asm/stat.h>
#include <linux/fcntl.h>
#include <linux/memfd.h>
#include <linux/mman.h>

#include "bytes.h"
#include "descriptors.h"
#include "filter.h"
#include "hmac.h"
#include "state.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

enum {
    TYPE_MASK = 0170000, REGULAR = 0100000, NAME_SIZE = 64, LINK_SIZE = 128, KNOWN_TAGS = 64, SET_SIGNAL = 10 /* F_SETSIG */,
    GET_SIGNAL = 11, SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE, MODE_MASK_FLAGS = 03 /* O_ACCMODE */,
};

#define NAME_START "cloister-file-"

/* A MAC of megabytes must not be made for each of a thousand reads. */
static struct {
    u64 tag;
    u32 index;
    bool known;
} tags[KNOWN_TAGS];

void placeholder_forget_tags(void) { memset(tags, 0, sizeof tags); }

u64 placeholder_mac(const struct file *file) {
    struct hmac hmac;
    u8 code[SHA256_SIZE];
    hmac_start(&hmac, state.handoff_key, sizeof state.handoff_key);
    hmac_add(&hmac, "injected file", 13);
    hmac_add(&hmac, &file->path_size, sizeof file->path_size);
    hmac_add(&hmac, file->path, file->path_size);
    hmac_add(&hmac, file->content, file->size);
    hmac_finish(&hmac, code);
    return load64(code);
}

u64 placeholder_tag(const struct file *file) {
    size_t at = file->index % KNOWN_TAGS;
    if (!tags[at].known || tags[at].index != file->index) {
        tags[at].tag = placeholder_mac(file);
        tags[at].index = file->index;
        tags[at].known = true;
    }
    return tags[at].tag;
}

static size_t append_name(char *to, size_t at, size_t size, const struct file *file) {
    at = append_number(to, append(to, at, size, NAME_START), size, file->index);
    return append_number(to, append(to, at, size, "-"), size, placeholder_tag(file));
}

long placeholder_create(const struct file *file) {
    char name[NAME_SIZE];
    append_name(name, 0, sizeof name, file);
    long fd = open_beyond_limit(__NR_memfd_create, addr_of(name), MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd == -EINVAL) fd = open_beyond_limit(__NR_memfd_create, addr_of(name), MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (failed(fd)) return fd;
    long error = SYS2(__NR_ftruncate, fd, file->size);
    if (!failed(error)) error = SYS2(__NR_fchmod, fd, 0400);
    if (!failed(error)) return fd;
    SYS1(__NR_close, fd);
    return error;
}

static void link_of(char link[], u32 fd) {
    append_number(link, append(link, 0, LINK_SIZE, "/proc/self/fd/"), LINK_SIZE, fd);
}

/* What it would be natively: the lowest number is promised by open(2), but only old code relies on that. */
static long lift(long fd, u64 flags) {
    long high = SYS3(__NR_fcntl, fd, flags & O_CLOEXEC ? F_DUPFD_CLOEXEC : F_DUPFD, filter_files_base());
    if (!failed(high)) {
        SYS1(__NR_close, fd);
        return high;
    }
    long error = placeholder_allow((u32)fd); /* at the limit of open files, or it was lowered */
    if (!failed(error)) return fd;
    SYS1(__NR_close, fd);
    return error;
}

/* Written zeros, for holes would show: cp(1) takes a file with fewer blocks than bytes for one to copy hole by hole. */
static long fill(long fd, u64 size) {
    if (!size) return 0;
    long at = SYS6(__NR_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (failed(at)) return at;
    long error = SYS3(__NR_madvise, at, page_up(size), MADV_POPULATE_WRITE);
    SYS2(__NR_munmap, at, size);
    return failed(error) ? -ENOMEM : 0;
}

long placeholder_finish(long fd, u64 size, u64 flags) {
    char link[LINK_SIZE];
    const u64 dropped = O_CREAT | O_EXCL | O_NOFOLLOW | O_DIRECT | MODE_MASK_FLAGS;
    link_of(link, (u32)fd);
    long opened = fill(fd, size);
    if (!failed(opened)) opened = SYS3(__NR_fcntl, fd, F_ADD_SEALS, SEALS);
    if (!failed(opened)) opened = SYS2(__NR_open, link, flags & ~dropped);
    SYS1(__NR_close, fd);
    if (failed(opened)) return opened == -ENOENT || opened == -ENOTDIR ? -EIO : opened; /* no /proc here */
    SYS3(__NR_fcntl, opened, SET_SIGNAL, SIGSYS_NUMBER);
    return lift(opened, flags);
}

/* The file's name as /proc shows it, if it can be one of ours. False if it cannot. `link` is empty if there is no /proc. */
static bool read_name(int fd, char link[]) {
    struct stat info;
    char own[LINK_SIZE];
    link[0] = 0;
    if (failed(SYS2(__NR_fstat, fd, &info)) || (info.st_mode & TYPE_MASK) != REGULAR || info.st_nlink) return false;
    link_of(own, (u32)fd);
    long n = SYS3(__NR_readlink, own, link, LINK_SIZE - 1);
    if (failed(n)) return (SYS2(__NR_fcntl, fd, F_GET_SEALS) & SEALS) == SEALS;
    link[n] = 0;
    return starts_with(link, "/memfd:" NAME_START);
}

bool placeholder_named(int fd) {
    char link[LINK_SIZE];
    return read_name(fd, link);
}

static u32 index_in(const char *link) {
    u32 index = 0;
    for (link += sizeof "/memfd:" NAME_START - 1; *link >= '0' && *link <= '9'; link++) index = index * 10 + (u32)(*link - '0');
    return index;
}

long placeholder_find(int fd, struct file *out) {
    char link[LINK_SIZE], expected[LINK_SIZE];
    if (!read_name(fd, link)) return NOT_INJECTED;
    if (!link[0]) return -EIO;
    if (SYS2(__NR_fcntl, fd, GET_SIGNAL) != SIGSYS_NUMBER) return -EACCES;
    if (!file_at(index_in(link), out)) return -ESTALE;
    size_t at = append_name(expected, append(expected, 0, LINK_SIZE, "/memfd:"), LINK_SIZE, out);
    append(expected, at, LINK_SIZE, " (deleted)");
    return same_string(link, expected) ? 0 : -ESTALE;
}

long placeholder_allow(u32 fd) { return fd >= filter_files_base() || filter_widen() ? 0 : -EIO; }
