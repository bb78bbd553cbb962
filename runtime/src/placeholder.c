/* Root can make memfds, lead the program to open them or a placeholder by a link to /proc/PID/fd, take a descriptor out of the
 * program (pidfd_getfd), change what can be changed of it, and mount over /proc. A server that gave an injected file away because
 * a link in its directories leads there, or a program that took zeros for its key, would be lost. So:
 *
 * - A placeholder is an open file description that reads only and has O_SYNC, which for reading means nothing. fcntl(2) cannot
 *   set or clear it, and opening.c never lets the program open another such.
 * - Which content it stands for is written on its inode, as time of modification: the file's index, and a MAC under the tree's
 *   key of the inode's number, which nobody can choose, and path and content. If that is not right, reads fail. */
#include "placeholder.h"

#include <asm/stat.h>
#include <linux/fcntl.h>
#include <linux/memfd.h>
#include <linux/mman.h>

#include "bytes.h"
#include "descriptors.h"
#include "filter.h"
#include "hmac.h"
#include "opening.h"
#include "state.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

enum {
    TYPE_MASK = 0170000, REGULAR = 0100000, LINK_SIZE = 40, KNOWN_TAGS = 64, SECONDS_BITS = 44,
    NO_CHANGE = 0x3ffffffe, /* UTIME_OMIT */
    SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE,
};

/* A MAC of megabytes must not be made for each of a thousand reads. */
static struct {
    u64 tag;
    u32 index;
    bool known;
} tags[KNOWN_TAGS] BEHIND;

void placeholder_forget_tags(void) { memset(tags, 0, sizeof tags); }

static u64 finish_mac(struct hmac *hmac) {
    u8 code[SHA256_SIZE];
    hmac_finish(hmac, code);
    return load64(code);
}

u64 placeholder_mac(const struct file *file) {
    struct hmac hmac;
    hmac_start(&hmac, state.handoff_key, sizeof state.handoff_key);
    hmac_add(&hmac, "injected file", 13);
    hmac_add(&hmac, &file->path_size, sizeof file->path_size);
    hmac_add(&hmac, file->path, file->path_size);
    hmac_add(&hmac, file->content, file->size);
    return finish_mac(&hmac);
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

struct moment { /* struct timespec */
    u64 seconds, nanoseconds;
};

/* 44 bits of the MAC beside the index, 20 as nanoseconds. */
static struct moment inscription(const struct file *file, const struct stat *inode) {
    struct hmac hmac;
    const u64 about[3] = {inode->st_dev, inode->st_ino, placeholder_tag(file)};
    hmac_start(&hmac, state.handoff_key, sizeof state.handoff_key);
    hmac_add(&hmac, "placeholder", 11);
    hmac_add(&hmac, about, sizeof about);
    u64 mac = finish_mac(&hmac), low = mac & ((1UL << SECONDS_BITS) - 1);
    return (struct moment){(u64)file->index << SECONDS_BITS | low, mac >> SECONDS_BITS};
}

long placeholder_create(const struct file *file) {
    u64 name = addr_of(CLOISTER_MEMFD_FILE);
    long fd = open_beyond_limit(__NR_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd == -EINVAL) fd = open_beyond_limit(__NR_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (failed(fd)) return fd;
    long error = SYS2(__NR_ftruncate, fd, file->size);
    if (!failed(error)) error = SYS2(__NR_fchmod, fd, 0400);
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

static long inscribe(long fd, const struct file *file) {
    struct stat inode;
    long error = SYS2(__NR_fstat, fd, &inode);
    const struct moment times[2] = {{0, NO_CHANGE}, inscription(file, &inode)};
    return failed(error) ? error : SYS4(__NR_utimensat, fd, NULL, times, 0);
}

/* Opens the memfd anew, for reading. Somebody may have mounted another /proc: EIO then, as where there is none. */
static long open_again(long fd, u64 flags) {
    char link[LINK_SIZE];
    const u64 dropped = O_CREAT | O_EXCL | O_NOFOLLOW | O_DIRECT;
    append_number(link, append(link, 0, LINK_SIZE, "/proc/self/fd/"), LINK_SIZE, (u64)fd);
    long opened = SYS2(__NR_open, link, (flags & ~dropped) | O_SYNC);
    if (opened == -EMFILE || opened == -ENFILE || opened == -ENOMEM) return opened;
    if (failed(opened)) return -EIO;
    if (is_same_file(fd, opened) && placeholder_is((int)opened)) return opened;
    SYS1(__NR_close, opened);
    return -EIO;
}

/* The lowest number is promised by open(2), but only old code relies on that. */
static long lift(long fd, u64 flags) {
    long high = SYS3(__NR_fcntl, fd, flags & O_CLOEXEC ? F_DUPFD_CLOEXEC : F_DUPFD, filter_files_base());
    long error = failed(high) ? placeholder_allow((u32)fd) : 0; /* at the limit of open files, or it was lowered */
    if (failed(high) && !failed(error)) return fd;
    SYS1(__NR_close, fd);
    return failed(error) ? error : high;
}

long placeholder_open(const struct file *file, u64 flags) {
    long fd = placeholder_create(file);
    if (failed(fd)) return fd;
    long opened = fill(fd, file->size);
    if (!failed(opened)) opened = inscribe(fd, file);
    if (!failed(opened)) opened = SYS3(__NR_fcntl, fd, F_ADD_SEALS, SEALS);
    if (!failed(opened)) opened = open_again(fd, flags);
    SYS1(__NR_close, fd);
    return failed(opened) ? opened : lift(opened, flags);
}

static bool look(int fd, struct stat *info) {
    long flags = SYS2(__NR_fcntl, fd, F_GETFL);
    if (failed(flags) || !opening_is_marked((u64)flags)) return false;
    return !failed(SYS2(__NR_fstat, fd, info)) && (info->st_mode & TYPE_MASK) == REGULAR && !info->st_nlink;
}

bool placeholder_is(int fd) {
    struct stat info;
    return look(fd, &info);
}

long placeholder_find(int fd, struct file *out) {
    struct stat info;
    if (!look(fd, &info)) return NOT_INJECTED;
    if (!file_at((u32)(info.st_mtime >> SECONDS_BITS), out)) return -ESTALE;
    struct moment expected = inscription(out, &info);
    return info.st_mtime == expected.seconds && info.st_mtime_nsec == expected.nanoseconds ? 0 : -ESTALE;
}

long placeholder_allow(u32 fd) { return fd >= filter_files_base() || filter_widen() ? 0 : -EIO; }
