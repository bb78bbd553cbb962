/* What waits behind a process's descriptors, read without taking it: pipes by tee(2), sockets by MSG_PEEK on a copy that
 * pidfd_getfd(2) gives, files and memfds through the link. */
#define _GNU_SOURCE
#include "sampler.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BUFFER = 1 << 18, MOST_OF_A_FILE = 1 << 20 };

static _Thread_local char buffer[BUFFER];

static void look_at_pipe(struct place *place, int fd) {
    int copy[2];
    place->kind = "pipe";
    if (pipe2(copy, O_NONBLOCK | O_CLOEXEC) != 0)
        return;
    (void)fcntl(copy[1], F_SETPIPE_SZ, BUFFER);
    if (tee(fd, copy[1], BUFFER, SPLICE_F_NONBLOCK) > 0) {
        ssize_t size = read(copy[0], buffer, sizeof buffer);
        search(place, buffer, size > 0 ? (size_t)size : 0);
    }
    close(copy[0]);
    close(copy[1]);
}

static void look_at_socket(struct place *place, int number) {
    int process = (int)syscall(SYS_pidfd_open, place->pid, 0);
    int fd = process < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, process, number, 0);
    if (fd >= 0) {
        ssize_t size = recv(fd, buffer, sizeof buffer, MSG_PEEK | MSG_DONTWAIT);
        place->kind = "socket";
        search(place, buffer, size > 0 ? (size_t)size : 0);
        count(place->process, "sockets", 1);
        close(fd);
    }
    if (process >= 0)
        close(process);
}

/* A memfd that nobody can write any more holds the same for ever: once is enough. */
static bool sealed_and_known(int fd, const struct stat *about) {
    static _Thread_local uint64_t known[4096];
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_WRITE))
        return false;
    uint64_t identity = (uint64_t)about->st_dev << 40 ^ about->st_ino, slot = identity % 4096;
    bool seen = known[slot] == identity;
    known[slot] = identity;
    return seen;
}

static void look_behind(struct place *place, const char *path, const char *target, int number) {
    if (strncmp(target, "socket:", 7) == 0) {
        look_at_socket(place, number);
        return;
    }
    if (strncmp(target, "pipe:", 5) != 0 && (target[0] != '/' || strncmp(target, "/dev/", 5) == 0))
        return;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    struct stat about;
    if (fd < 0)
        return;
    if (fstat(fd, &about) == 0 && S_ISFIFO(about.st_mode)) {
        look_at_pipe(place, fd);
        count(place->process, "pipes", 1);
    } else if (S_ISREG(about.st_mode) && changed_since_start(&about.st_ctim) && !sealed_and_known(fd, &about)) {
        place->kind = strncmp(target, "/memfd:", 7) == 0 ? "memfd" : "open file";
        look_at_open_file(place, fd, MOST_OF_A_FILE);
        count(place->process, "open files", 1);
    }
    close(fd);
}

void look_at_descriptors(pid_t pid, const char *name) {
    char path[64], detail[96], target[4096];
    struct place place = {pid, name, "link", detail};
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *descriptors = opendir(path);
    for (struct dirent *one; descriptors && (one = readdir(descriptors));) {
        if (one->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%d/fd/%.16s", pid, one->d_name);
        ssize_t size = readlink(path, target, sizeof target - 1);
        if (size <= 0)
            continue;
        target[size] = 0;
        snprintf(detail, sizeof detail, "fd %.16s: %.60s", one->d_name, target);
        place.kind = "link";
        search(&place, target, (size_t)size);
        look_behind(&place, path, target, atoi(one->d_name));
    }
    if (descriptors)
        closedir(descriptors);
}
