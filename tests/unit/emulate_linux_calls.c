/* System calls as C libraries make them: each line that does not hold ends the program with its number. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MUST(condition)                                                     \
    do {                                                                    \
        if (!(condition)) {                                                 \
            printf("line %d: %s: errno %d\n", __LINE__, #condition, errno); \
            exit(1);                                                        \
        }                                                                   \
    } while (0)

enum { SIZE = 300000 };

static char content[SIZE], copy[SIZE];

static void files(void) {
    struct stat status;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 1};

    for (int i = 0; i < SIZE; i++)
        content[i] = (char)(i * 7);
    MUST(mkdir("d", 0755) == 0);
    int fd = open("d/f", O_RDWR | O_CREAT | O_EXCL, 0644);
    MUST(fd > 2);
    MUST(open("d/f", O_RDWR | O_CREAT | O_EXCL, 0644) < 0 && errno == EEXIST);
    MUST(open("d/f", O_RDONLY | O_DIRECTORY) < 0 && errno == ENOTDIR);
    MUST(write(fd, content, SIZE) == SIZE);
    MUST(fstat(fd, &status) == 0 && status.st_size == SIZE && S_ISREG(status.st_mode));
    MUST(lseek(fd, -10, SEEK_END) == SIZE - 10);
    MUST(read(fd, copy, 100) == 10 && memcmp(copy, content + SIZE - 10, 10) == 0);
    MUST(pread(fd, copy, SIZE, 5) == SIZE - 5 && memcmp(copy, content + 5, SIZE - 5) == 0);
    char *map = mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, fd, 0);
    MUST(map != MAP_FAILED && memcmp(map, content, SIZE) == 0 && munmap(map, SIZE) == 0);
    MUST(fcntl(fd, F_SETLK, &lock) == 0 && fsync(fd) == 0 && ftruncate(fd, 5) == 0);
    int second = dup(fd);
    MUST(second > fd && close(fd) == 0 && close(second) == 0);
    MUST(rename("d/f", "d/g") == 0 && access("d/f", F_OK) < 0 && errno == ENOENT);
    MUST(chmod("d/g", 0600) == 0 && lstat("d/g", &status) == 0 && (status.st_mode & 0777) == 0600);
    MUST(status.st_size == 5);
    struct timespec times[2] = {{5, 6}, {7, 8}};
    MUST(utimensat(AT_FDCWD, "d/g", times, 0) == 0 && stat("d/g", &status) == 0);
    MUST(status.st_mtim.tv_sec == 7 && status.st_mtim.tv_nsec == 8);
}

static void directories(void) {
    char path[4096];
    int entries = 0;
    DIR *directory = opendir("d");

    MUST(directory != NULL);
    while (readdir(directory) != NULL)
        entries++;
    MUST(entries == 3 && closedir(directory) == 0);
    MUST(unlink("d/g") == 0 && rmdir("d") == 0);
    MUST(chdir("/") == 0 && getcwd(path, sizeof path) != NULL && strcmp(path, "/") == 0);
    MUST(open("/proc/self/maps", O_RDONLY) < 0 && errno == ENOENT);
}

static void memory(void) {
    char *place = mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    MUST(place != MAP_FAILED && mprotect(place, 65536, PROT_READ | PROT_WRITE) == 0);
    memset(place, 7, 65536);
    MUST(madvise(place, 65536, MADV_DONTNEED) == 0 && place[5] == 0);
    place[0] = 9;
    char *moved = mremap(place, 65536, 1 << 19, MREMAP_MAYMOVE);
    MUST(moved != MAP_FAILED && moved[0] == 9 && moved[65536] == 0);
    for (size_t size = 1; size < 1 << 20; size *= 3) {
        char *block = malloc(size);
        MUST(block != NULL);
        memset(block, 1, size);
        free(block);
    }
}

static void rest(void) {
    struct timespec before, after, pause = {0, 20000000};
    char random[64] = {0}, zero[64] = {0};

    MUST(clock_gettime(CLOCK_MONOTONIC, &before) == 0 && nanosleep(&pause, NULL) == 0);
    MUST(clock_gettime(CLOCK_MONOTONIC, &after) == 0);
    MUST((after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec >= pause.tv_nsec);
    MUST(getrandom(random, sizeof random, 0) == sizeof random && memcmp(random, zero, sizeof random) != 0);
    MUST(getpid() == 1000 && isatty(1) == 0 && fork() == -1 && errno == ENOSYS);
}

int main(int count, char **arguments) {
    MUST(count == 2 && strcmp(getenv("NAME"), "value") == 0);
    MUST(chdir(arguments[1]) == 0);
    files();
    directories();
    memory();
    rest();
    puts("everything holds");
    fflush(stdout);
    abort();
}
