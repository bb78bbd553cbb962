/* The file system, core files and outputs included, and the kernel's log. Pipes and devices are left alone. */
#define _GNU_SOURCE
#include "sampler.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER = 1 << 18, OVERLAP = 4096, DEEPEST = 8 };

void look_at_open_file(const struct place *place, int fd, off_t most) {
    static _Thread_local char buffer[BUFFER];
    ssize_t got;
    for (off_t at = 0; at < most && (got = pread(fd, buffer, sizeof buffer, at)) > 0;) {
        search(place, buffer, (size_t)got);
        at += got == BUFFER ? BUFFER - OVERLAP : got;
    }
}

static void look_at_file(int directory, const char *name, const char *path) {
    struct place place = {0, "", "file", path};
    struct stat about;
    int fd = openat(directory, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return;
    if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode)) {
        look_at_open_file(&place, fd, about.st_size + BUFFER);
        count("", "files", 1);
    }
    close(fd);
}

void look_at_directory(const char *path, int depth) {
    char below[4096];
    DIR *entries = depth > DEEPEST ? NULL : opendir(path);
    struct place place = {0, "", "file name", below};
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(below, sizeof below, "%.3800s/%s", path, entry->d_name);
        search(&place, entry->d_name, strlen(entry->d_name));
        if (entry->d_type == DT_DIR)
            look_at_directory(below, depth + 1);
        else if (entry->d_type == DT_REG)
            look_at_file(dirfd(entries), entry->d_name, below);
        else if (entry->d_type == DT_LNK) {
            char target[4096];
            ssize_t size = readlinkat(dirfd(entries), entry->d_name, target, sizeof target);
            search(&place, target, size > 0 ? (size_t)size : 0);
        }
    }
    if (entries)
        closedir(entries);
}

void look_at_kernel_log(void) {
    static char log[1 << 20];
    struct place place = {0, "", "kernel log", ""};
    int size = klogctl(3, log, sizeof log); /* SYSLOG_ACTION_READ_ALL */
    search(&place, log, size > 0 ? (size_t)size : 0);
    count("", "kernel log", 1);
}
