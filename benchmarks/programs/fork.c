/* fork(2), exit and wait of a process that has touched so many MiB.
 *
 * usage: fork MIB
 *
 * prints "fork N": mean ms over at least three forks and at least 0.1 s. The child checks that its copy is right.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"

enum { FORKS_MIN = 3, MIB = 1 << 20 };
static const double SECONDS_MIN = 0.1;

static void fork_once(const char *bytes, size_t length)
{
    int status = -1;
    pid_t child = fork();

    if (child == 0)
        _exit(bytes[0] == 1 && bytes[length - 1] == 1 ? 0 : 1);
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
        fprintf(stderr, "fork: the child failed\n");
        exit(1);
    }
}

int main(int argc, char **argv)
{
    size_t length = argc == 2 ? strtoul(argv[1], NULL, 10) * MIB : 0;
    char *bytes = length ? malloc(length) : NULL;
    double begin;
    int forks = 0;

    if (!bytes)
        return 2;
    memset(bytes, 1, length);
    begin = now();
    while (forks < FORKS_MIN || now() - begin < SECONDS_MIN) {
        fork_once(bytes, length);
        forks++;
    }
    printf("fork %.4f\n", (now() - begin) / forks * 1e3);
    return 0;
}
