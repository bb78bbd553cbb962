/* Waits for all its children. With the word "reaper" it first becomes the reaper of orphans, and executes the rest. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int words, char **word) {
    if (words > 2 && strcmp(word[1], "reaper") == 0) {
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        execv(word[2], word + 2);
        return 127;
    }
    int status, reaped = 0;
    if (fork() == 0) _exit(3);
    while (wait(&status) > 0) reaped++;
    printf("reaped %d\n", reaped);
    return 0;
}
