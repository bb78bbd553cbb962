/* Reads $1 as it is told, and all the time in threads: `open` anew, `same` from the descriptor that was opened first. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { THREADS = 3, MOST = 300000 };

static const char *path;
static _Atomic long mixed, reads;

static void show(const char *name, int fd) {
    static char buffer[MOST];
    long n = fd < 0 ? -1 : pread(fd, buffer, sizeof buffer, 0);
    if (n < 0) printf("%s error %d\n", name, errno);
    else printf("%s %ld %.*s\n", name, n, n < 8 ? (int)n : 8, buffer);
}

/* Every content is one letter many times. */
static void *read_on(void *unused) {
    static __thread char buffer[5000];
    for (;;) {
        int fd = open(path, O_RDONLY);
        long n;
        char letter = 0;
        while (fd >= 0 && (n = read(fd, buffer, sizeof buffer)) > 0) {
            if (!letter) letter = buffer[0];
            for (long i = 0; i < n; i++) mixed += buffer[i] != letter;
            reads++;
        }
        close(fd);
        usleep(1000);
    }
    return unused;
}

int main(int count, char **words) {
    char line[200];
    struct stat by_path, by_fd;
    pthread_t thread;
    path = words[1];
    int first = open(path, O_RDONLY), other = open(words[2], O_RDONLY);
    for (int i = 0; i < THREADS && count > 3; i++) pthread_create(&thread, NULL, read_on, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("ready");
    while (fgets(line, sizeof line, stdin)) {
        if (strncmp(line, "open", 4) == 0) {
            int fd = open(path, O_RDONLY);
            show("open", fd);
            close(fd);
        } else if (strncmp(line, "same", 4) == 0) {
            show("same", first);
            show("other", other);
        } else if (strncmp(line, "stat", 4) == 0) {
            int failed = stat(path, &by_path) || fstat(first, &by_fd);
            printf("stat %d one file %d\n", failed, by_path.st_ino == by_fd.st_ino);
        } else if (strncmp(line, "many", 4) == 0) {
            for (int i = 0; i < 300; i++) close(open(path, O_RDONLY));
        } else printf("mixed %ld, some %d\n", mixed, reads > 0);
        puts("done");
    }
    return 0;
}
