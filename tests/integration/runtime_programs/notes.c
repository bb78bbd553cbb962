/* A program that keeps notes in /data/notes. Each line of input: `+TEXT` appends and makes it last, `-TEXT` only appends, `?` shows;
 * `<PATH` shows what stands in another file. With an argument, it asks for a line and tries again where it cannot open its notes. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
    char line[200], all[4096];
    int notes;
    (void)argv;
    while ((notes = open("/data/notes", O_RDWR | O_CREAT | O_APPEND, 0600)) < 0) {
        printf("open: %s\n", strerror(errno));
        fflush(stdout);
        if (argc < 2 || !fgets(line, sizeof line, stdin)) return 3;
    }
    while (fgets(line, sizeof line, stdin)) {
        if (*line == '?') {
            ssize_t size = pread(notes, all, sizeof all - 1, 0);
            all[size < 0 ? 0 : size] = 0;
            printf("has:%s", *all ? all : "\n");
        } else if (*line == '<') {
            line[strcspn(line, "\n")] = 0;
            int other = open(line + 1, O_RDONLY);
            ssize_t size = other < 0 ? -1 : read(other, all, sizeof all - 1);
            all[size < 0 ? 0 : size] = 0;
            printf("read:%s\n", other < 0 ? strerror(errno) : all);
            if (other >= 0) close(other);
        } else {
            if (write(notes, line + 1, strlen(line + 1)) < 0) printf("write: %s\n", strerror(errno));
            if (*line == '+') printf("sync: %s\n", fsync(notes) ? strerror(errno) : "done");
        }
        fflush(stdout);
    }
    return 0;
}
