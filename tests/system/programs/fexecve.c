/* Executes by descriptor: `fexecve PROGRAM ARGS...`, with the descriptor closed on exec or not, and with execveat on a directory. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    char **words = argv + 2;
    if (strcmp(argv[1], "directory") == 0) {
        char *slash = strrchr(words[0], '/');
        *slash = '\0';
        int directory = open(words[0], O_PATH | O_DIRECTORY);
        execveat(directory, slash + 1, words, environ, 0);
    } else if (strcmp(argv[1], "deleted") == 0) {
        char command[4096], name[] = "/tmp/fexecve-XXXXXX";
        int copy = mkstemp(name);
        snprintf(command, sizeof command, "cp %s %s && chmod 700 %s", words[0], name, name);
        if (system(command) != 0)
            return 3;
        close(copy);
        int file = open(name, O_RDONLY | O_CLOEXEC);
        unlink(name);
        fexecve(file, words, environ);
    } else {
        fexecve(open(words[0], O_RDONLY | O_CLOEXEC), words, environ);
    }
    perror("exec");
    return 1;
}
