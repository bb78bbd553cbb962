/* Mappings of files in the directory that the first argument names, cut, covered and protected as the kernel allows. The second is the
 * scenario; what it prints is the same natively and shielded. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 8, SIZE = PAGES * PAGE };

static const char *directory;
static char buffer[SIZE];

/* Full of that letter. */
static int file(char letter, int flags) {
    char path[512], name[2] = {letter, 0};
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, O_CREAT | O_RDWR, 0600);
    memset(buffer, letter, SIZE);
    if (fd < 0 || pwrite(fd, buffer, SIZE, 0) != SIZE) puts("no file");
    close(fd);
    return open(path, flags);
}

static char *mapped(int fd, void *at, int flags) {
    char *map = mmap(at, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | flags, fd, 0);
    if (map == MAP_FAILED) printf("map: %s\n", strerror(errno));
    return map == MAP_FAILED ? buffer : map;
}

/* One letter for each page. */
static void tell(const char *what, int fd) {
    char letters[PAGES + 1] = "";
    for (int i = 0; i < PAGES; i++)
        if (pread(fd, &letters[i], 1, i * PAGE) != 1) letters[i] = '-';
    printf("%s %s\n", what, letters);
}

/* What is left of a mapping of which the middle went is the file's, and not the next one's. */
static void cut(void) {
    int one = file('a', O_RDWR), other = file('b', O_RDWR);
    char *first = mapped(one, NULL, 0);
    first[0] = '0';
    munmap(first + 2 * PAGE, PAGE);
    munmap(first + 4 * PAGE, PAGE);
    char *second = mapped(other, NULL, 0);
    first[3 * PAGE] = '3';
    first[PAGE] = '1';
    second[0] = 'B';
    printf("%c%c%c%c %c%c\n", first[0], first[PAGE], first[3 * PAGE], first[5 * PAGE], second[0], second[3 * PAGE]);
    tell("one", one);
    tell("other", other);
    munmap(first, SIZE);
    munmap(second, SIZE);
    tell("one", one);
    tell("other", other);
}

/* Over memory that was reserved, and over another mapping. */
static void fixed(void) {
    int one = file('a', O_RDWR), other = file('b', O_RDWR);
    char *room = mmap(NULL, 2 * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mapped(one, room, MAP_FIXED)[0] = '0';
    mapped(other, room + PAGE, MAP_FIXED)[0] = '1';
    printf("%c%c\n", room[0], room[PAGE]);
    tell("one", one);
    tell("other", other);
}

/* A mapping that fails leaves what it would have covered. */
static void refused(void) {
    int one = file('a', O_RDWR), reads = file('b', O_RDONLY), place = open(directory, O_RDONLY | O_DIRECTORY);
    char *map = mapped(one, NULL, 0);
    if (mmap(map, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, reads, 0) == MAP_FAILED) puts(strerror(errno));
    if (mmap(map, SIZE, PROT_READ, MAP_PRIVATE | MAP_FIXED, place, 0) == MAP_FAILED) puts(strerror(errno));
    map[0] = '0';
    munmap(map, SIZE);
    tell("one", one);
}

/* What was opened for reading is not written by way of a mapping. */
static void guarded(void) {
    int reads = file('a', O_RDONLY);
    char *map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, reads, 0);
    if (mprotect(map, SIZE, PROT_READ | PROT_WRITE)) printf("%c %s\n", map[0], strerror(errno));
}

/* Memory that may be written can be read, on this processor. */
static void written(void) {
    int fd = file('a', O_RDWR);
    char *only = mmap(NULL, PAGE, PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    printf("%d", (int)pread(fd, only, PAGE, 0));
    only[0] = 'A';
    printf(" %d\n", (int)pwrite(fd, only, PAGE, 0));
    tell("one", fd);
}

static void spliced(void) {
    int ends[2];
    char text[] = "spliced", found[sizeof text] = "";
    struct iovec part = {text, sizeof text};
    if (pipe(ends)) return;
    printf("%d", (int)vmsplice(ends[1], &part, 1, 0));
    printf(" %d %s\n", (int)read(ends[0], found, sizeof found), found);
}

int main(int count, char **words) {
    static const struct {
        const char *name;
        void (*run)(void);
    } all[] = {{"cut", cut}, {"fixed", fixed}, {"refused", refused}, {"guarded", guarded}, {"written", written}, {"spliced", spliced}};
    if (count < 3) return 2;
    directory = words[1];
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (!strcmp(all[i].name, words[2])) {
            all[i].run();
            return 0;
        }
    return 2;
}
