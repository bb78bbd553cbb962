/* Descriptors, and bytes that the kernel moves between them and the arena, whatever stands there. */
#define _GNU_SOURCE
#include "calls.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

enum { FILES = 10, SCANNED = 128, BACK = 1 << 20 };

static int fds[FILES] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1};

static int *file_of(long a) { return &fds[a % FILES]; }

/* What a slot had stays open: the numbers go on, until the limit. */
static void put(long a, long fd) {
    note(" %ld", fd);
    if (fd >= 0) *file_of(a) = (int)fd;
}

/* A place in the arena, seldom at the start of a page, and seldom longer than what is left of it. */
static void *buffer(const long *a) { return (char *)at((unsigned)(a[1] % PAGES)) + (a[2] % 3 ? a[2] % 64 : PAGE - 1 - a[2] % PAGE); }
static size_t length_of(const long *a) {
    size_t left = (size_t)(here->arena + (size_t)PAGES * PAGE - (char *)buffer(a)), wanted = (size_t)(a[3] % 4 ? a[3] % 600 : a[3] % (3 * PAGE));
    return wanted < left ? wanted : left;
}

static void op_open(const long *a) {
    long fd = -1;
    switch (a[1] % 14) {
    case 0: fd = open("constant", O_RDONLY); break;
    case 1: fd = open("shared", O_RDWR); break;
    case 2: fd = open("other", O_RDWR | O_CREAT | O_TRUNC, 0600); break;
    case 3: fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); break;
    case 4: fd = open("missing", O_RDONLY); break;
    case 5: fd = open("shared", O_RDWR | O_CREAT | O_EXCL, 0600); break;
    case 6: fd = open("/dev/null", O_RDWR); break;
    case 7: fd = open("/dev/zero", O_RDWR); break;
    case 8: fd = memfd_create("m", a[2] % 2 ? MFD_CLOEXEC : MFD_ALLOW_SEALING); break;
    case 9: fd = eventfd((unsigned)(a[2] % 5), EFD_NONBLOCK); break;
    case 10: fd = open(buffer(a), O_RDONLY); break;
    case 11: fd = open("shared", O_WRONLY | O_APPEND | O_CLOEXEC); break;
    case 12: fd = openat(DIRECTORY, "constant", O_RDONLY | O_NOFOLLOW); break;
    default: fd = open("/dev/fd/1002", O_RDONLY); break;
    }
    note(" %ld", a[1] % 14);
    put(a[0], outcome(fd));
}

static void op_pipe(const long *a) {
    int ends[2] = {-1, -1}, flags = O_NONBLOCK | (a[2] % 3 ? 0 : O_CLOEXEC);
    long result = a[3] % 8 == 7   ? syscall(SYS_pipe2, buffer(a), flags)
                  : a[3] % 3 == 0 ? socketpair(AF_UNIX, SOCK_NONBLOCK | (a[2] % 2 ? SOCK_STREAM : SOCK_DGRAM), 0, ends)
                                  : pipe2(ends, flags);
    note(" %ld", outcome(result));
    if (result) return;
    if (a[3] % 8 == 7) memcpy(ends, buffer(a), sizeof ends);
    put(a[0], ends[0]);
    put(a[0] + 1, ends[1]);
}

static void op_close(const long *a) {
    int *fd = file_of(a[0]);
    if (a[1] % 8 == 7) note(" range %ld", outcome(syscall(SYS_close_range, 60 + a[2] % 20, 90, a[3] % 2 ? 4 /* CLOEXEC */ : 0)));
    else note(" %ld", outcome(close(*fd)));
    *fd = -1;
}

static void op_dup(const long *a) {
    int from = *file_of(a[0]), to = 30 + (int)(a[2] % 50);
    switch (a[3] % 5) {
    case 0: put(a[1], outcome(dup(from))); return;
    case 1: put(a[1], outcome(dup2(from, to))); return;
    case 2: put(a[1], outcome(dup3(from, to, a[4] % 3 ? O_CLOEXEC : 1))); return;
    case 3: put(a[1], outcome(fcntl(from, F_DUPFD_CLOEXEC, to))); return;
    default: put(a[1], outcome(fcntl(from, F_DUPFD, to))); return;
    }
}

static void op_flags(const long *a) {
    int fd = *file_of(a[0]);
    note(" %ld", outcome(fcntl(fd, F_SETFD, a[1] % 2)));
    note(" %ld %ld", outcome(fcntl(fd, F_GETFD)), outcome(fcntl(fd, F_GETFL)));
    note(" %ld", outcome(fcntl(fd, a[2] % 2 ? F_GET_SEALS : F_GETPIPE_SZ)));
}

/* Every page that op_bytes may touch. */
static int has_pages(const long *a, size_t length) {
    char *last = (char *)buffer(a) + length;
    for (char *page = (char *)at((unsigned)(a[1] % PAGES)); page <= last && page < here->arena + (size_t)PAGES * PAGE; page += PAGE)
        if (!can_read(page) || !can_write(page)) return 0;
    return can_read(at((unsigned)(a[4] % PAGES))) && can_write(at((unsigned)(a[4] % PAGES)));
}

/* Reading of an unaligned number of bytes into a page that cannot be written stops in the middle, and how far it came is told. */
static void op_bytes(const long *a) {
    int fd = *file_of(a[0]);
    size_t length = length_of(a), half = length / 2;
    long offset = a[4] % (12 * PAGE);
    struct iovec parts[2] = {{buffer(a), half}, {(char *)at((unsigned)(a[4] % PAGES)), half < PAGE ? half : PAGE}};
    long result = 0;
    if (shielded && !has_pages(a, length)) {
        note(" skipped"); /* what a call that fails in the middle of a buffer has done there */
        return;
    }
    switch (a[5] % 10) {
    case 0: result = read(fd, buffer(a), length); break;
    case 1: result = write(fd, buffer(a), length); break;
    case 2: result = pread(fd, buffer(a), length, offset); break;
    case 3: result = pwrite(fd, buffer(a), length, offset); break;
    case 4: result = readv(fd, parts, 2); break;
    case 5: result = writev(fd, parts, 2); break;
    case 6: result = preadv(fd, parts, 2, offset); break;
    case 7: result = pwritev(fd, parts, 2, offset); break;
    case 8: result = recv(fd, buffer(a), length, MSG_DONTWAIT | (a[4] % 2 ? MSG_PEEK : 0)); break;
    default: result = send(fd, buffer(a), length, MSG_DONTWAIT | MSG_NOSIGNAL); break;
    }
    note(" %ld %zu %ld", a[5] % 10, length, outcome(result));
    look((unsigned)(a[1] % PAGES), 2);
}

static void op_position(const long *a) {
    struct stat info;
    if (shielded && fstat(*file_of(a[0]), &info) == 0 && S_ISDIR(info.st_mode)) return; /* each file system has its own numbers */
    static const int whence[] = {SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE};
    note(" %ld", outcome(lseek(*file_of(a[0]), a[1] % (14 * PAGE) - 100, PICK(whence, a[2]))));
}

/* The constant file is open for reading only, wherever it is. */
static void op_truncate(const long *a) {
    int fd = a[2] % 2 ? SHARED_FILE : *file_of(a[0]);
    long least = shielded ? CONSTANT_PAGES * PAGE : 0; /* what is mapped is not cut off: SIGBUS, or zeros */
    note(" %ld", outcome(ftruncate(fd, least + a[1] % (12 * PAGE))));
    if (a[3] % 4 == 0) note(" %ld", outcome(fallocate(fd, a[4] % 2 ? 3 /* punch a hole, keep the size */ : 0, a[1] % (8 * PAGE), 1 + a[5] % (4 * PAGE))));
    look(0, PAGES);
}

static void op_between(const long *a) {
    int from = *file_of(a[0]), to = *file_of(a[1]);
    size_t length = (size_t)(shielded + a[3] % 9000); /* of nothing at all, tee(2) says 0 or an error */
    struct iovec part = {buffer(a), length < PAGE ? length : PAGE};
    long result = 0;
    int how = shielded && a[2] % 5 == 2 ? 0 : (int)(a[2] % 5); /* EXDEV: copied otherwise */
    switch (how) {
    case 0: result = sendfile(to, from, NULL, length); break;
    case 1: result = splice(from, NULL, to, NULL, length, SPLICE_F_NONBLOCK); break;
    case 2: result = syscall(SYS_copy_file_range, from, NULL, to, NULL, length, 0); break;
    case 3: result = tee(from, to, length, SPLICE_F_NONBLOCK); break;
    default: result = writev(to, &part, 1); break;
    }
    if (shielded && how <= 1 && result < 0 && (errno == EBADF || errno == EISDIR)) errno = EINVAL; /* which of several comes first */
    note(" %d %zu %ld", how, length, outcome(result));
}

/* Pages that are given to a pipe can still be changed natively; here they are read out at once. */
static void op_give(const long *a) {
    struct iovec part = {at((unsigned)(a[1] % PAGES)), (size_t)(a[3] % PAGE)};
    char out[PAGE], whole[PAGE] = {0};
    int ends[2];
    if (pipe2(ends, O_NONBLOCK)) return;
    long given = outcome(vmsplice(ends[1], &part, 1, SPLICE_F_NONBLOCK));
    long got = outcome(read(ends[0], out, sizeof out));
    if (got > 0) memcpy(whole, out, (size_t)got);
    note(" %ld %ld %08x", given, got, (unsigned)hash_page(whole));
    close(ends[0]);
    close(ends[1]);
}

static void op_status(const long *a) {
    struct stat info;
    long result = fstat(*file_of(a[0]), &info);
    note(" %ld", outcome(result));
    if (result == 0 && S_ISREG(info.st_mode)) note(" %lld %o", (long long)info.st_size, (unsigned)info.st_mode);
    if (a[1] % 4 == 0) note(" %ld", outcome(syscall(SYS_fstat, SHARED_FILE, buffer(a))));
}

static void op_ready(const long *a) {
    struct pollfd asked[3] = {{*file_of(a[0]), POLLIN | POLLOUT, 0}, {*file_of(a[1]), POLLIN, 0}, {*file_of(a[2]), POLLOUT, 0}};
    struct timespec now = {0, 0};
    sigset_t mask;
    sigemptyset(&mask);
    note(" %ld", outcome(a[3] % 2 ? ppoll(asked, 3, &now, &mask) : poll(asked, 3, 0)));
    for (int i = 0; i < 3; i++) note(" %x", (unsigned)asked[i].revents);
    fd_set readable;
    FD_ZERO(&readable);
    int fd = asked[0].fd;
    if (fd >= 0 && fd < FD_SETSIZE) FD_SET(fd, &readable);
    note(" %ld", outcome(pselect(fd >= 0 ? fd + 1 : 0, &readable, NULL, NULL, &now, a[4] % 2 ? &mask : NULL)));
    int queue = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN}, found;
    note(" %ld", outcome(epoll_ctl(queue, EPOLL_CTL_ADD, fd, &event)));
    note(" %ld", outcome(epoll_pwait(queue, &found, 1, 0, a[5] % 2 ? &mask : NULL)));
    close(queue);
}

static void op_limit(const long *a) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 90 + (rlim_t)(a[0] % 40);
    if (a[1] % 4 == 0) limit.rlim_cur = limit.rlim_max;
    note(" %ld", outcome(setrlimit(RLIMIT_NOFILE, &limit)));
    getrlimit(RLIMIT_NOFILE, &limit);
    note(" %lu", (unsigned long)limit.rlim_cur);
}

void report_files(void);
void report_files(void) {
    for (int fd = 0; fd < SCANNED; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (flags >= 0) note(" fd%d:%d", fd, flags);
    }
}

static void op_files(const long *a) {
    (void)a;
    report_files();
}

const struct operation file_operations[] = {
    {"open", op_open, 0},         {"pipe", op_pipe, 0},     {"close", op_close, 0}, {"dup", op_dup, 0},     {"flags", op_flags, 0},
    {"bytes", op_bytes, 0},       {"position", op_position, 0}, {"truncate", op_truncate, 0}, {"between", op_between, 0}, {"give", op_give, 0},
    {"status", op_status, 0},     {"ready", op_ready, 0},   {"limit", op_limit, 0}, {"files", op_files, 0}, {NULL, NULL, 0},
};
