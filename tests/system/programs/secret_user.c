/* secret_user MODE SECRET FILE: gets secrets as an argument, as the variable SECRET and as a file, uses all three, and has a child
 * that gets them in its environment. It prints their hashes and nothing else, and waits a moment, as long-running programs do.
 * MODE `crash` ends by abort(3), with a core file where that is possible; `leak` puts the argument into a file for a moment. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t fnv(const char *text) {
    uint64_t hash = 0xcbf29ce484222325;
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3;
    return hash;
}

static void show(const char *what, const char *text) { printf("%s %016" PRIx64 "\n", what, fnv(text)); }

static char *content_of(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *content = calloc(1, 4096);
    if (fd < 0 || read(fd, content, 4095) < 0) {
        perror(path);
        exit(1);
    }
    close(fd);
    return content;
}

static char *joined(const char *before, const char *after) {
    char *text = NULL;
    if (asprintf(&text, "%s%s", before, after) < 0)
        exit(1);
    return text;
}

static void be_the_child(const char *path) {
    show("child's argument", getenv("ARGUMENT"));
    show("child's variable", getenv("SECRET"));
    show("child's file", content_of(path));
}

static void leak(const char *secret) {
    int fd = open("leaked", O_RDWR | O_CREAT, 0600);
    if (fd < 0 || write(fd, secret, strlen(secret)) < 0)
        exit(4);
    nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
    unlink("leaked");
}

static void have_a_child(char *self, const char *argument, const char *variable, char *path) {
    char *environment[] = {joined("ARGUMENT=", argument), joined("SECRET=", variable), NULL};
    char *arguments[] = {self, "child", "-", path, NULL};
    fflush(stdout);
    pid_t child = fork();
    int status = 0;
    if (child == 0) {
        execve("/proc/self/exe", arguments, environment);
        execve(self, arguments, environment);
        _exit(127);
    }
    if (waitpid(child, &status, 0) != child || status != 0)
        exit(3);
}

int main(int argc, char **argv) {
    if (argc != 4)
        return 2;
    if (strcmp(argv[1], "child") == 0) {
        be_the_child(argv[3]);
        return 0;
    }
    const char *variable = getenv("SECRET");
    if (!variable)
        return 2;
    show("argument", argv[2]);
    show("variable", variable);
    show("file", content_of(argv[3]));
    have_a_child(argv[0], argv[2], variable, argv[3]);
    fflush(stdout);
    nanosleep(&(struct timespec){.tv_nsec = 60 * 1000 * 1000}, NULL);
    if (strcmp(argv[1], "leak") == 0)
        leak(argv[2]);
    if (strcmp(argv[1], "crash") == 0)
        abort();
    return 0;
}
