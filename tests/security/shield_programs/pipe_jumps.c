/* A signal's handler jumps out of read(2) and write(2) on a pipe, again and again: what is read stays in order, the end is an end, and no
 * descriptors pile up. Records have their number in them; one that was left may come or not. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 60, SIZE = 4000, MICROSECONDS = 3000 };

static sigjmp_buf out;

static void jump(int signal) {
    (void)signal;
    siglongjmp(out, 1);
}

static void alarm_in(int microseconds) {
    const struct itimerval timer = {.it_value = {.tv_usec = microseconds}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

static int descriptors(void) {
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (directory && readdir(directory)) count++;
    if (directory) closedir(directory);
    return count;
}

/* Reads slowly; answers whether all records came in order, whole, and ended. */
static int reader(int fd) {
    static char record[SIZE];
    uint32_t last = 0, number;
    size_t have = 0;
    for (;;) {
        ssize_t n = read(fd, record + have, sizeof record - have);
        if (n < 0) return errno;
        if (n == 0) return have ? 200 : 0;
        have += (size_t)n;
        if (have < sizeof record) continue;
        have = 0;
        memcpy(&number, record, sizeof number);
        if (number < last || number - last > 2) return 201; /* every second one at least is waited for */
        last = number;
        usleep(200);
    }
}

static void write_and_jump(int fd) {
    static volatile uint32_t number;
    static char record[SIZE];
    for (volatile int round = 0; round < ROUNDS; round++) {
        if (!sigsetjmp(out, 1)) {
            alarm_in(MICROSECONDS);
            for (;;) {
                number++;
                memcpy(record, (const void *)&number, sizeof number);
                if (write(fd, record, sizeof record) != sizeof record) _exit(3);
            }
        }
        number++; /* whatever became of the one before, this one is written */
        memcpy(record, (const void *)&number, sizeof number);
        if (write(fd, record, sizeof record) != sizeof record) _exit(4);
    }
}

static int read_and_jump(void) {
    int pair[2], before;
    char byte;
    if (pipe(pair)) return 5;
    before = descriptors();
    for (volatile int round = 0; round < ROUNDS; round++) {
        if (!sigsetjmp(out, 1)) {
            alarm_in(MICROSECONDS);
            if (read(pair[0], &byte, 1) != -2) return 6;
        }
    }
    if (write(pair[1], "x", 1) != 1 || read(pair[0], &byte, 1) != 1 || byte != 'x') return 7;
    return descriptors() <= before + 2 ? 0 : 8;
}

int main(void) {
    int pair[2], status = 0;
    struct sigaction action = {.sa_handler = jump};
    sigaction(SIGALRM, &action, NULL);
    if (pipe(pair)) return 1;
    pid_t child = fork();
    if (child == 0) {
        close(pair[1]);
        _exit(reader(pair[0]));
    }
    close(pair[0]);
    write_and_jump(pair[1]);
    close(pair[1]);
    waitpid(child, &status, 0);
    printf("reader %d, jumps out of read %d\n", WEXITSTATUS(status), read_and_jump());
    return 0;
}
