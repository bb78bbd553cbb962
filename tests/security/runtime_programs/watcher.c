/* What root sees of a tree of processes, looked at again and again: environ, cmdline, memory, and the content of memfds.
 *
 * usage: watcher BLOCK PID [PID...]   The first line of standard input is the secret. BLOCK is where the first sealed block that is
 * caught is written. It prints "watching", looks until standard input ends, then prints "NAME NUMBER" for each count. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LARGEST = 64 << 20, TREE = 64, FULL_EVERY = 256 };

static char secret[256], *buffer;
static size_t secret_size;
static const char *block_path;
static long looks, images, blocks, memory_bytes, in_environ, in_cmdline, in_memory, in_memfd;

static int holds_secret(size_t size) { return memmem(buffer, size, secret, secret_size) != NULL; }

static size_t read_file(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t size = 0;
    ssize_t n;
    if (fd < 0) return 0;
    while (size < LARGEST && (n = pread(fd, buffer + size, LARGEST - size, (off_t)size)) > 0) size += (size_t)n;
    close(fd);
    return size;
}

static void look_at_words(int pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/environ", pid);
    in_environ += holds_secret(read_file(path));
    snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
    size_t size = read_file(path);
    in_cmdline += holds_secret(size);
    images += memmem(buffer, size, "--handoff-fd=", 13) != NULL;
}

static void keep_block(size_t size) {
    int fd = open(block_path, O_CREAT | O_EXCL | O_WRONLY, 0600);
    if (fd < 0) return;
    if (write(fd, buffer, size) != (ssize_t)size) abort();
    close(fd);
}

/* A block is whole when it is sealed. */
static void look_at_descriptors(int pid) {
    char path[64], link[128];
    for (int number = 0; number < 20; number++) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, number);
        ssize_t n = readlink(path, link, sizeof link - 1);
        if (n <= 0) continue;
        link[n] = 0;
        if (!strstr(link, "memfd:")) continue;
        int fd = open(path, O_RDONLY | O_CLOEXEC), sealed = fcntl(fd, F_GET_SEALS) & F_SEAL_WRITE;
        close(fd);
        size_t size = read_file(path);
        in_memfd += holds_secret(size);
        if (!strstr(link, "cloister-handoff") || !size) continue;
        blocks++;
        if (sealed) keep_block(size);
    }
}

static void look_at_memory(int pid, int full) {
    char path[64], line[512], permissions[8];
    unsigned long start, end;
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    int memory = open(path, O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *maps = fopen(path, "re");
    while (maps && memory >= 0 && fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-%lx %7s", &start, &end, permissions) != 3 || end - start > LARGEST) continue;
        int plain = permissions[0] == 'r' && (!strchr(line, '/') || strstr(line, "/dev/zero")); /* neither text nor reserved */
        if (!full && !plain) continue;
        ssize_t n = pread(memory, buffer, end - start, (off_t)start);
        if (n <= 0) continue;
        memory_bytes += n;
        in_memory += holds_secret((size_t)n);
    }
    if (maps) fclose(maps);
    if (memory >= 0) close(memory);
}

static int add_children(int *tree, int count, int pid) {
    char path[64], text[1024] = {0};
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return count;
    if (read(fd, text, sizeof text - 1) < 0) text[0] = 0;
    close(fd);
    for (char *at = text, *next; count < TREE; at = next) {
        int child = (int)strtol(at, &next, 10);
        if (next == at) break;
        tree[count++] = child;
    }
    return count;
}

static void look(int *roots, int root_count) {
    int tree[TREE + 1], count = root_count;
    memcpy(tree, roots, sizeof(int) * (size_t)root_count);
    for (int i = 0; i < count; i++) {
        count = add_children(tree, count, tree[i]);
        look_at_words(tree[i]);
        look_at_descriptors(tree[i]);
        look_at_memory(tree[i], looks % FULL_EVERY == 0);
    }
    looks++;
}

int main(int words, char **word) {
    int roots[TREE], count = 0;
    struct pollfd input = {.fd = 0, .events = POLLIN};
    if (words < 3 || !fgets(secret, sizeof secret, stdin)) return 2;
    secret_size = strcspn(secret, "\n");
    block_path = word[1];
    for (int i = 2; i < words && count < TREE / 2; i++) roots[count++] = atoi(word[i]);
    if (!(buffer = malloc(LARGEST))) return 3;
    puts("watching");
    fflush(stdout);
    while (poll(&input, 1, 0) == 0) look(roots, count);
    printf("looks %ld\nimages %ld\nblocks %ld\nmemory_bytes %ld\n", looks, images, blocks, memory_bytes);
    printf("in_environ %ld\nin_cmdline %ld\nin_memory %ld\nin_memfd %ld\n", in_environ, in_cmdline, in_memory, in_memfd);
    return 0;
}
