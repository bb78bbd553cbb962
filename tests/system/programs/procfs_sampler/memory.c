/* Memory: every page that is there, of every region, through /proc/PID/mem and process_vm_readv(2) by turns. Left out is what is
 * a file's own content, unchanged since before the start: it cannot hold what was made for this run. */
#define _GNU_SOURCE
#include "sampler.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PAGE = 4096, CHUNK = 1 << 20, MOST_RANGES = 1024, MOST_UNKNOWN = 64 << 20 };

/* PAGEMAP_SCAN of linux/fs.h (6.7); declared here because older headers do not have it. */
struct page_range {
    uint64_t start, end, categories;
};
struct scan_request {
    uint64_t size, flags, start, end, walk_end, ranges, ranges_length, most_pages;
    uint64_t inverted, all_of, any_of, returned;
};
#define SCAN_PAGES _IOWR('f', 16, struct scan_request)
enum { PAGE_IS_FILE = 1 << 2, PAGE_IS_PRESENT = 1 << 3, PAGE_IS_SWAPPED = 1 << 4 };

struct region {
    uint64_t start, end;
    char permissions[5];
    unsigned long inode;
    char path[256];
};
struct reading {
    int memory, pagemap;
    bool by_call; /* process_vm_readv */
    struct place *place;
    uint64_t read, refused;
};

static _Thread_local char chunk[CHUNK];

static ssize_t read_memory(const struct reading *reading, uint64_t at, size_t size) {
    if (!reading->by_call)
        return pread(reading->memory, chunk, size, (off_t)at);
    struct iovec to = {chunk, size}, from = {(void *)at, size};
    return process_vm_readv(reading->place->pid, &to, 1, &from, 1, 0);
}

/* Chunks overlap by a page, so that nothing is missed because it stands across two. */
static void read_range(struct reading *reading, uint64_t start, uint64_t end) {
    for (uint64_t at = start; at < end;) {
        size_t size = end - at < CHUNK ? end - at : CHUNK;
        ssize_t got = read_memory(reading, at, size);
        if (got <= 0) { /* regions are secret as a whole: the rest is refused as its beginning is */
            reading->refused += end - at;
            return;
        }
        search(reading->place, chunk, (size_t)got);
        reading->read += (uint64_t)got;
        at += (size_t)got == CHUNK ? CHUNK - PAGE : (size_t)got;
    }
}

static bool is_old_file(const struct region *region) {
    struct stat about;
    if (!region->inode || region->path[0] != '/' || stat(region->path, &about) != 0)
        return false;
    return about.st_ino == region->inode && !changed_since_start(&about.st_ctim);
}

static void read_region(struct reading *reading, const struct region *region) {
    static _Thread_local struct page_range ranges[MOST_RANGES];
    struct scan_request request = {
        .size = sizeof request, .start = region->start, .end = region->end, .ranges = (uint64_t)ranges,
        .ranges_length = MOST_RANGES, .any_of = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
        .returned = PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_FILE,
    };
    bool old = is_old_file(region);
    while (request.start < region->end) {
        int known = ioctl(reading->pagemap, SCAN_PAGES, &request);
        if (known < 0) { /* an older kernel: all of it, unless it is a reservation */
            if (!old && (region->permissions[0] == 'r' || region->end - region->start <= MOST_UNKNOWN))
                read_range(reading, region->start, region->end);
            return;
        }
        for (int i = 0; i < known; i++)
            if (!old || !(ranges[i].categories & PAGE_IS_FILE))
                read_range(reading, ranges[i].start, ranges[i].end);
        request.start = request.walk_end > request.start ? request.walk_end : region->end;
    }
}

static bool parse(const char *line, struct region *region) {
    region->path[0] = 0;
    return sscanf(line, "%lx-%lx %4s %*x %*x:%*x %lu %255[^\n]", &region->start, &region->end, region->permissions,
                  &region->inode, region->path) >= 4;
}

static void read_regions(struct reading *reading, bool stacks_only) {
    char path[64], line[1024], detail[128];
    struct region region;
    snprintf(path, sizeof path, "/proc/%d/maps", reading->place->pid);
    FILE *maps = fopen(path, "re");
    while (maps && fgets(line, sizeof line, maps)) {
        if (!parse(line, &region) || strcmp(region.path, "[vsyscall]") == 0)
            continue;
        if (stacks_only && strcmp(region.path, "[stack]") != 0)
            continue;
        snprintf(detail, sizeof detail, "%lx %s %.90s", region.start, region.permissions, region.path);
        reading->place->detail = detail;
        read_region(reading, &region);
    }
    if (maps)
        fclose(maps);
}

void look_at_memory(pid_t pid, const char *name, bool stacks_only) {
    static _Thread_local unsigned turn;
    char path[64];
    struct place place = {pid, name, "memory", ""};
    struct reading reading = {.by_call = turn++ % 2, .place = &place};
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    reading.memory = open(path, O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof path, "/proc/%d/pagemap", pid);
    reading.pagemap = open(path, O_RDONLY | O_CLOEXEC);
    if (reading.memory >= 0 && reading.pagemap >= 0) {
        read_regions(&reading, stacks_only);
        count(name, stacks_only ? "stacks" : "memories", 1);
        count(name, "bytes read", reading.read);
        count(name, "bytes refused", reading.refused);
    } else {
        count(name, "memories refused", 1);
    }
    if (reading.memory >= 0)
        close(reading.memory);
    if (reading.pagemap >= 0)
        close(reading.pagemap);
}
