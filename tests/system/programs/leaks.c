/* leaks PLACE MASKED: puts a secret into one place where an administrator can read it, and keeps it there for a moment. The secret
 * is given masked, so that it is nowhere else, but for the memory that it is made in. The control of the procfs sampler. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MASK = 0x55 };

static char secret[128];
static size_t size;

static void moment(void) { nanosleep(&(struct timespec){.tv_nsec = 60 * 1000 * 1000}, NULL); }

static void unmask(const char *masked) {
    for (; masked[2 * size] && size < sizeof secret - 1; size++) {
        unsigned byte = 0;
        sscanf(masked + 2 * size, "%2x", &byte);
        secret[size] = (char)(byte ^ MASK);
    }
}

static void write_and_wait(int fd) {
    if (write(fd, secret, size) != (ssize_t)size)
        exit(1);
    moment();
}

static void in_registers(void) {
    struct timespec now, start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        __asm__ volatile("movdqu %0, %%xmm9\n1: pause\n dec %1\n jnz 1b" : : "m"(secret), "r"(2000000) : "xmm9");
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < 200);
}

static void in_hidden_memory(void) {
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(page + 1001, secret, size);
    memset(secret, 0, sizeof secret);
    mprotect(page, 4096, PROT_NONE);
    moment();
}

/* A child that lives for about a millisecond. */
static void briefly(char *variable) {
    char *arguments[] = {"true", NULL}, *environment[] = {variable, NULL};
    memset(secret, 0, sizeof secret);
    pid_t child = vfork();
    if (child == 0) {
        execve("/bin/true", arguments, environment);
        _exit(1);
    }
    explicit_bzero(variable, strlen(variable));
    waitpid(child, NULL, 0);
}

static void in_a_child(const char *as_argument, char *variable) {
    char *arguments[] = {"sleep", "0.06", NULL}, *environment[] = {variable, NULL};
    char *shell[] = {"sh", "-c", "sleep 0.06; :", secret, NULL}, *path[] = {"PATH=/usr/bin:/bin", NULL};
    if (as_argument)
        execve("/bin/sh", shell, path);
    else
        execve("/bin/sleep", arguments, environment);
    exit(1);
}

int main(int argc, char **argv) {
    int pair[2];
    char variable[160], file[160];
    if (argc != 3)
        return 2;
    const char *place = argv[1];
    unmask(argv[2]);
    snprintf(variable, sizeof variable, "SECRET=%s", secret);
    snprintf(file, sizeof file, "%s", strcmp(place, "file name") == 0 ? secret : "leaked");
    if (strcmp(place, "memory") == 0)
        in_hidden_memory();
    else if (strcmp(place, "registers") == 0)
        in_registers();
    else if (strcmp(place, "cmdline") == 0 || strcmp(place, "environ") == 0)
        in_a_child(strcmp(place, "cmdline") == 0 ? secret : NULL, variable);
    else if (strcmp(place, "briefly") == 0)
        briefly(variable);
    else if (strcmp(place, "comm") == 0)
        prctl(PR_SET_NAME, secret), moment();
    else if (strcmp(place, "pipe") == 0)
        (void)!pipe(pair), write_and_wait(pair[1]);
    else if (strcmp(place, "socket") == 0)
        (void)!socketpair(AF_UNIX, SOCK_STREAM, 0, pair), write_and_wait(pair[1]);
    else if (strcmp(place, "memfd") == 0)
        write_and_wait(memfd_create("leaked", 0));
    else if (strcmp(place, "output") == 0)
        write_and_wait(1);
    else if (strcmp(place, "core") == 0)
        abort();
    else {
        int fd = open(file, O_RDWR | O_CREAT, 0600);
        if (strcmp(place, "open file") == 0)
            unlink(file);
        write_and_wait(fd);
    }
    return 0;
}
