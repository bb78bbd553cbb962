/* A daemon the classic way: fork, setsid, fork; then it keeps the line from standard input until it is told to end. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void leave(const char *pid_file) {
    FILE *file = fopen(pid_file, "w");
    if (file == NULL)
        exit(1);
    fprintf(file, "%d\n", getpid());
    fclose(file);
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    open("/dev/null", O_RDWR);
    pause();
}

int main(int argc, char **argv) {
    static char secret[256];
    if (argc != 2 || fgets(secret, sizeof secret, stdin) == NULL)
        return 1;
    if (fork() == 0) {
        setsid();
        if (fork() == 0)
            leave(argv[1]);
        _exit(0);
    }
    return 0;
}
