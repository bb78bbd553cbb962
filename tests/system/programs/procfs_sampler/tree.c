/* Who is watched, by name, and small things that all looks need. */
#define _GNU_SOURCE
#include "sampler.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

pid_t root;
struct timespec start_time;

size_t read_small(const char *path, void *buffer, size_t size) {
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return 0;
    size_t done = 0;
    ssize_t got;
    while (done < size && (got = read(fd, (char *)buffer + done, size - done)) > 0)
        done += (size_t)got;
    close(fd);
    return done;
}

const char *name_of(pid_t pid, char name[32]) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    size_t size = read_small(path, name, 31);
    name[size && name[size - 1] == '\n' ? size - 1 : size] = 0;
    return name;
}

bool changed_since_start(const struct timespec *changed) {
    return changed->tv_sec > start_time.tv_sec || (changed->tv_sec == start_time.tv_sec && changed->tv_nsec >= start_time.tv_nsec);
}

static size_t add_children(pid_t pid, pid_t members[], size_t known) {
    char path[96], text[4096];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    for (struct dirent *task; tasks && (task = readdir(tasks));) {
        if (task->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%.16s/children", pid, task->d_name);
        text[read_small(path, text, sizeof text - 1)] = 0;
        for (char *word = text, *end; known < MOST_PROCESSES; word = end) {
            long child = strtol(word, &end, 10);
            if (end == word)
                break;
            members[known++] = (pid_t)child;
        }
    }
    if (tasks)
        closedir(tasks);
    return known;
}

/* The root adopts orphans (it is their subreaper), so daemons and guards are below it as well. */
size_t tree_members(pid_t members[MOST_PROCESSES]) {
    size_t known = add_children(root, members, 0);
    for (size_t i = 0; i < known; i++)
        known = add_children(members[i], members, known);
    return known;
}
