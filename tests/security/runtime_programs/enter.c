/* Goes into a directory for good, where there is no /proc, and executes a program there with a secret.
 *
 * usage: enter DIRECTORY PROGRAM   The first line of standard input is the secret. As "show" it prints its words instead. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int words, char **word, char **environment) {
    char secret[256], variable[300];
    if (strcmp(word[0], "show") == 0) {
        printf("%s %s\n", word[1], environment[0]);
        return 0;
    }
    if (words != 3 || !fgets(secret, sizeof secret, stdin)) return 2;
    secret[strcspn(secret, "\n")] = 0;
    snprintf(variable, sizeof variable, "TOKEN=%s", secret);
    if (chroot(word[1]) || chdir("/")) return 3;
    execve(word[2], (char *[]){"show", secret, NULL}, (char *[]){variable, NULL});
    printf("errno %d\n", errno);
    return 4;
}
