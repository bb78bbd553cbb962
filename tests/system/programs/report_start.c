/* Everything a program is given at its start, byte by byte: arguments, environment, descriptors, signal state, limits of ids. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static void show(const char *what, const char *text) {
    printf("%s %zu:", what, strlen(text));
    for (; *text; text++)
        printf("%02x", (unsigned char)*text);
    printf("\n");
}

static void show_descriptors(void) {
    for (int fd = 0; fd < 256; fd++) {
        struct stat status;
        if (fstat(fd, &status) == 0)
            printf("fd %d type %o flags %d\n", fd, status.st_mode & S_IFMT, fcntl(fd, F_GETFD));
    }
}

static void show_signals(void) {
    sigset_t mask;
    sigprocmask(SIG_BLOCK, NULL, &mask);
    for (int number = 1; number < 65; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) == 0)
            printf("signal %d %s%s\n", number, action.sa_handler == SIG_IGN ? "ignored" : action.sa_handler == SIG_DFL ? "default" : "caught",
                   sigismember(&mask, number) ? " blocked" : "");
    }
}

int main(int argc, char **argv) {
    printf("argc %d, after the last argument: %s\n", argc, argv[argc] == NULL ? "NULL" : "something");
    for (int i = 0; i < argc; i++)
        show("argv", argv[i]);
    for (char **variable = environ; *variable; variable++)
        show("env", *variable);
    show("execfn", (const char *)getauxval(AT_EXECFN));
    printf("uid %lu %u, page %lu, secure %lu\n", getauxval(AT_UID), geteuid(), getauxval(AT_PAGESZ), getauxval(AT_SECURE));
    printf("the parent's child: %d, a session of %s\n", getppid() > 0, getsid(0) == getpid() ? "its own" : "another");
    show_descriptors();
    show_signals();
    return 0;
}
