/* What procfs tells of a process in files and links. */
#define _GNU_SOURCE
#include "sampler.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const TEXTS[] = {"cmdline", "environ", "auxv", "comm", "status", "stat", "maps", "stack", "wchan", "mountinfo"};
static const char *const LINKS[] = {"exe", "cwd", "root"};

/* Numbers and arguments of the system call that a thread stands in: six registers, as hexadecimal numbers. */
static void look_at_arguments(struct place *place, const char *path) {
    char text[512];
    uint64_t words[16];
    size_t known = 0;
    text[read_small(path, text, sizeof text - 1)] = 0;
    for (char *word = text, *end; known < 16; word = end) {
        words[known] = strtoull(word, &end, 0);
        if (end == word)
            break;
        known++;
    }
    place->kind = "syscall";
    search_registers(place, words, known * sizeof words[0]);
}

static void look_at_threads(struct place *place) {
    char path[96], name[32];
    snprintf(path, sizeof path, "/proc/%d/task", place->pid);
    DIR *tasks = opendir(path);
    for (struct dirent *task; tasks && (task = readdir(tasks));) {
        if (task->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%.16s/syscall", place->pid, task->d_name);
        look_at_arguments(place, path);
        snprintf(path, sizeof path, "/proc/%d/task/%.16s/comm", place->pid, task->d_name);
        place->kind = "comm";
        search(place, name, read_small(path, name, sizeof name));
    }
    if (tasks)
        closedir(tasks);
}

void look_at_texts(pid_t pid, const char *name) {
    static _Thread_local char text[1 << 18];
    char path[96];
    struct place place = {pid, name, "", path};
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", pid, TEXTS[i]);
        place.kind = TEXTS[i];
        search(&place, text, read_small(path, text, sizeof text));
    }
    for (size_t i = 0; i < sizeof LINKS / sizeof LINKS[0]; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", pid, LINKS[i]);
        ssize_t size = readlink(path, text, sizeof text);
        place.kind = "link";
        search(&place, text, size > 0 ? (size_t)size : 0);
    }
    look_at_threads(&place);
    count(name, "looks", 1);
}
