#include "measured.h"

#include <asm/stat.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/resource.h>

#include "descriptors.h"
#include "elf_file.h"
#include "sealed.h"
#include "sha256_file.h"

enum { TYPE_MASK = 0170000, REGULAR = 0100000, MODE = 07777, OWNER_READS = 0400, EMPTY_PATH = 0 };
enum { PASSED_ON = O_NOFOLLOW | O_DIRECTORY | O_NOATIME, COPIES = 1024 };
enum { ALL_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

/* Inode numbers of memfds are not given twice while the machine runs, so a copy whose descriptors are closed may stay here. A
 * program that opens so many measured files before it maps one of the first is told that this one is unknown. */
static struct copy {
    u64 device, inode;
} copies[COPIES] BEHIND;
static size_t next_copy;

/* What was refused must not be known: an administrator may have it open by now, and can lead the program to it by another name. */
void measured_accept(int fd) {
    struct stat info;
    if (failed(SYS2(__NR_fstat, fd, &info))) return;
    copies[next_copy++ % COPIES] = (struct copy){.device = info.st_dev, .inode = info.st_ino};
}

bool measured_is_copy(int fd) {
    struct stat info;
    if (failed(SYS2(__NR_fstat, fd, &info))) return false;
    for (size_t i = 0; i < COPIES && i < next_copy; i++)
        if (copies[i].device == info.st_dev && copies[i].inode == info.st_ino) return true;
    return false;
}

/* The copy can be written by an administrator until it is sealed (/proc/PID/fd), so it is looked at afterwards only. */
static long copy_sealed(int source, u64 size) {
    struct draft draft;
    long error = draft_begin(&draft, size, size);
    return failed(error) ? error : draft_end(&draft, draft_fill(&draft, source, size, 0));
}

static long hash_sealed(int fd, u64 size, u8 digest[SHA256_SIZE]) {
    struct stat info;
    long error = SYS2(__NR_fstat, fd, &info);
    if (failed(error)) return error;
    if ((u64)info.st_size != size) return -EIO; /* somebody else changed its size before the seal */
    if (size) {
        long at = SYS6(__NR_mmap, 0, size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
        if (failed(at)) return at;
        sha256_file(ptr_of((u64)at), size, digest);
        SYS2(__NR_munmap, at, size);
    } else sha256_file("", 0, digest);
    return 0;
}

/* Mode and times, for programs that look at their files with fstat(2). They are the host's word, as natively. */
static void dress(long copy, const struct stat *source) {
    const u64 times[4] = {source->st_atime, source->st_atime_nsec, source->st_mtime, source->st_mtime_nsec};
    SYS2(__NR_fchmod, copy, (source->st_mode & MODE) | OWNER_READS);
    SYS4(__NR_utimensat, copy, EMPTY_PATH, times, 0);
}

/* Making a file larger than RLIMIT_FSIZE allows would end the program (SIGXFSZ), which only reads. */
static bool fits_limit(u64 size) {
    u64 limit[2] = {0, 0};
    return !failed(SYS2(__NR_getrlimit, RLIMIT_FSIZE, limit)) && size <= limit[0];
}

static long copy_file(int source, u8 digest[SHA256_SIZE]) {
    struct stat info;
    long error = SYS2(__NR_fstat, source, &info);
    if (failed(error)) return error;
    if ((info.st_mode & TYPE_MASK) != REGULAR) return -EACCES;
    u64 size = (u64)info.st_size;
    if (!fits_limit(size)) return -EFBIG;
    long copy = copy_sealed(source, size);
    if (failed(copy)) return copy;
    error = hash_sealed((int)copy, size, digest);
    dress(copy, &info);
    if (!failed(error)) return copy;
    SYS1(__NR_close, copy);
    return error;
}

/* The same copy opened to be read only, or -errno. What is mounted on /proc is the host's choice. */
static long open_reader(long copy) {
    char link[40];
    append_number(link, append(link, 0, sizeof link, "/proc/self/fd/"), sizeof link, (u64)copy);
    long reader = open_beyond_limit(__NR_open, addr_of(link), READ_ONLY | CLOSE_ON_EXEC | O_NONBLOCK);
    if (failed(reader) || is_same_file(reader, copy)) return reader;
    SYS1(__NR_close, reader);
    return -ENOENT;
}

/* The copy takes the number of `source`, which was the lowest that was free. Where it cannot be opened anew, it stays open for
 * writing as well, which the seal refuses. */
static long take_place(long copy, int source, bool close_on_exec) {
    long reader = open_reader(copy);
    long result = SYS3(__NR_dup3, failed(reader) ? copy : reader, source, close_on_exec ? CLOSE_ON_EXEC : 0);
    if (!failed(reader)) SYS1(__NR_close, reader);
    SYS1(__NR_close, copy);
    return result;
}

long measured_copy(const char *path, u64 flags, u8 digest[SHA256_SIZE]) {
    u64 used = READ_ONLY | CLOSE_ON_EXEC | O_NONBLOCK | O_NOCTTY | (flags & PASSED_ON); /* a FIFO put there must not stop us */
    long source = SYS2(__NR_open, path, used);
    if (failed(source)) return source;
    long copy = copy_file((int)source, digest);
    if (!failed(copy)) return take_place(copy, (int)source, flags & CLOSE_ON_EXEC);
    SYS1(__NR_close, source);
    return copy;
}

long measured_adopt(int fd, u8 digest[SHA256_SIZE]) {
    struct stat info;
    long seals = SYS2(__NR_fcntl, fd, F_GET_SEALS);
    if (failed(seals) || (seals & ALL_SEALS) != ALL_SEALS || failed(SYS2(__NR_fstat, fd, &info))) return -EACCES;
    return failed(hash_sealed(fd, (u64)info.st_size, digest)) ? -EACCES : 0;
}
