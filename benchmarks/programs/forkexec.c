/* fork(2), execve(2) of /bin/true and wait, from a process that has touched so many MiB.
 *
 * usage: forkexec MIB
 *
 * prints "forkexec N": mean ms over at least three turns and at least 0.1 s.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"

enum { TURNS_MIN = 3, MIB = 1 << 20 };
static const double SECONDS_MIN = 0.1;

static void turn(void)
{
    char *const words[] = {"true", NULL}, *const environment[] = {NULL};
    int status = -1;
    pid_t child = fork();

    if (child == 0) {
        execve("/bin/true", words, environment);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
        fprintf(stderr, "forkexec: the child ended with %d\n", status);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    size_t length = argc == 2 ? strtoul(argv[1], NULL, 10) * MIB : 0;
    char *bytes = length ? malloc(length) : NULL;
    double begin;
    int turns = 0;

    if (!bytes)
        return 2;
    memset(bytes, 1, length);
    begin = now();
    while (turns < TURNS_MIN || now() - begin < SECONDS_MIN) {
        turn();
        turns++;
    }
    printf("forkexec %.4f\n", (now() - begin) / turns * 1e3);
    return 0;
}
