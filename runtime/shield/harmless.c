/* What of the host's paths a strict enclave may use: hardly any program does without, and no plaintext stays there. Below /proc/self
 * stand links to everything (root, cwd, fd), so only what has been looked at is let through. */
#include <linux/fcntl.h>

#include "location.h"
#include "opening.h"
#include "outside.h"
#include "table.h"

enum { STREAMS = 3, LONGEST = 20 };

/* Letters, not pointers, which would need relocation. */
static const char devices[][LONGEST] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"};
static const char streams[STREAMS][LONGEST] = {"/dev/stdin", "/dev/stdout", "/dev/stderr"};
/* Entries that are the file itself, in the process's directory or a thread's. */
static const char entries[][LONGEST] = {
    "arch_status", "attr", "auxv", "cgroup", "clear_refs", "cmdline", "comm", "coredump_filter", "cpuset", "environ", "fd", "fdinfo", "gid_map",
    "io", "limits", "loginuid", "maps", "mem", "mountinfo", "mounts", "mountstats", "numa_maps", "oom_adj", "oom_score", "oom_score_adj",
    "pagemap", "personality", "projid_map", "sched", "schedstat", "sessionid", "setgroups", "smaps", "smaps_rollup", "stack", "stat", "statm",
    "status", "syscall", "task", "timens_offsets", "timers", "timerslack_ns", "uid_map", "wchan",
};
static const char folders[][LONGEST] = {"attr/", "fdinfo/", "ns/", "net/"};

static bool is_one_of(const char list[][LONGEST], size_t count, const char *text) {
    for (size_t i = 0; i < count; i++)
        if (same_string(list[i], text)) return true;
    return false;
}

static const char *skip_digits(const char *at) {
    while (*at >= '0' && *at <= '9') at++;
    return at;
}

static bool has_more(const char *at) {
    while (*at && *at != '/') at++;
    return *at;
}

/* Behind a link of a process (its root, working directory, descriptors, mapped files) the kernel goes on from a place that text does not
 * tell, and past every region. The link itself may be looked at. */
bool outside_is_magic(const char *path, u32 flags) {
    static const char links[][LONGEST] = {"root", "cwd", "fd", "map_files"};
    const char *at = starts_with(path, "/proc/") ? path + 6 : NULL;
    if (!at) return starts_with(path, "/dev/fd/") && has_more(path + 8);
    while (*at && *at != '/') at++; /* self, thread-self, a number */
    if (starts_with(at, "/task/")) at = skip_digits(at + 6);
    if (*at++ != '/') return false;
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        if (!starts_with(at, links[i])) continue;
        const char *behind = at + strlen(links[i]);
        if (i < 2 && !*behind) return flags & LOCATION_FOLLOW;
        if (*behind == '/') return i < 2 || has_more(behind + 1);
    }
    return false;
}

/* The same as "/proc/self/", by number. */
static const char *in_own_number(const char *path) {
    char own[32];
    size_t at = append_number(own, append(own, 0, sizeof own, "/proc/"), sizeof own, (u64)SYS0(__NR_getpid));
    append(own, at, sizeof own, "/");
    return starts_with(path, own) ? path + strlen(own) : NULL;
}

/* What is left behind "/proc/self/" or "/proc/self/task/N/"; NULL if it begins otherwise. */
static const char *in_process(const char *path) {
    const char *rest = starts_with(path, "/proc/self/") ? path + 11 : starts_with(path, "/proc/thread-self/") ? path + 18 : in_own_number(path);
    if (!rest || !starts_with(rest, "task/")) return rest;
    const char *behind = skip_digits(rest + 5);
    if (behind == rest + 5) return NULL;
    return *behind == '/' ? behind + 1 : *behind ? NULL : "task";
}

static int number_behind(const char *digits) {
    int value = 0;
    if (!*digits || *skip_digits(digits)) return -1;
    for (; *digits; digits++) {
        if (value > TABLE_MOST) return -1;
        value = value * 10 + (*digits - '0');
    }
    return value;
}

int outside_descriptor(const char *path) {
    for (int i = 0; i < STREAMS; i++)
        if (same_string(path, streams[i])) return i;
    if (starts_with(path, "/dev/fd/")) return number_behind(path + 8);
    const char *rest = in_process(path);
    return rest && starts_with(rest, "fd/") ? number_behind(rest + 3) : -1;
}

/* What is open already may be opened again, but not for more. */
static bool may_open_again(int fd, u32 flags) {
    long mode = SYS2(__NR_fcntl, fd, F_GETFL);
    if (failed(mode)) return true; /* the kernel says that there is none */
    return !(flags & LOCATION_CHANGES) || (!(mode & O_PATH) && (mode & O_ACCMODE) != O_RDONLY);
}

bool outside_is_harmless(const char *path, u32 flags) {
    if (is_one_of(devices, sizeof devices / sizeof devices[0], path)) return true;
    int fd = outside_descriptor(path);
    if (fd >= 0) return may_open_again(fd, flags);
    bool changes = flags & LOCATION_CHANGES;
    if (same_string(path, "/dev/fd") || same_string(path, "/proc/self") || same_string(path, "/proc/thread-self")) return !changes;
    const char *rest = in_process(path);
    if (!rest) return false;
    if (same_string(rest, "exe")) return !changes;
    if (is_one_of(entries, sizeof entries / sizeof entries[0], rest)) return true;
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        if (starts_with(rest, folders[i])) return !changes || i == 0;
    return false;
}
