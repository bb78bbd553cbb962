/* A program that somebody talks to: prompts, without a newline, and echoes what was typed until `quit` or the end. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void) {
    char line[256];
    printf("terminal %d%d%d\n", isatty(0), isatty(1), isatty(2));
    for (int n = 1;; n++) {
        printf("%d> ", n);
        fflush(stdout);
        if (!fgets(line, sizeof line, stdin) || !strcmp(line, "quit\n")) break;
        printf("you said: %s", line);
    }
    printf("bye\n");
    return 3;
}
