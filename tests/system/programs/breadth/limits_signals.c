/* usage: limits_signals SECONDS. A timer's signal every 2 ms while memory is mapped, filled, checked and unmapped, while a
 * child is forked, while reads and sleeps are interrupted. Prints "right" if nothing was wrong, and nothing of how much.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 8 };
static volatile sig_atomic_t signals;
static volatile double kept = 1.5;

/* What a handler does that is allowed: memory calls among it, and floating point, which must not disturb the others. */
static void on_signal(int number)
{
    int saved = errno;
    char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)number;
    if (page == MAP_FAILED || page[17] != 0)
        abort();
    page[17] = 1;
    munmap(page, PAGE);
    kept = kept * 3 / 3;
    signals++;
    errno = saved;
}

static void wrong(const char *what)
{
    printf("wrong: %s, %s\n", what, strerror(errno));
    exit(1);
}

static void use_memory(int turn)
{
    unsigned char *bytes = mmap(NULL, PAGE * PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (bytes == MAP_FAILED)
        wrong("mmap");
    for (int i = 0; i < PAGE * PAGES; i += 512)
        if (bytes[i] != 0)
            wrong("memory that is not zero");
    memset(bytes, turn, PAGE * PAGES);
    if (mprotect(bytes, PAGE, PROT_READ) != 0 || bytes[PAGE - 1] != (unsigned char)turn)
        wrong("mprotect");
    if (munmap(bytes, PAGE * PAGES) != 0)
        wrong("munmap");
}

static void use_a_child(int turn)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0)
        _exit(turn & 63);
    if (child < 0)
        wrong("fork");
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            wrong("waitpid");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != (turn & 63))
        wrong("the child's end");
}

/* An empty pipe: the signal must end the read with EINTR, for SA_RESTART was not asked for. */
static void be_interrupted(int empty)
{
    char byte;
    struct timespec moment = {0, 3000000};

    if (read(empty, &byte, 1) != -1 || errno != EINTR)
        wrong("read");
    if (nanosleep(&moment, NULL) != 0 && errno != EINTR)
        wrong("nanosleep");
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct itimerval often = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
    struct timespec now;
    time_t end;
    int ends[2], turn = 0;

    if (argc != 2 || pipe(ends) != 0 || sigaction(SIGALRM, &action, NULL) != 0)
        return 2;
    clock_gettime(CLOCK_MONOTONIC, &now);
    end = now.tv_sec + atol(argv[1]);
    setitimer(ITIMER_REAL, &often, NULL);
    do {
        for (int i = 0; i < 50; i++)
            use_memory(++turn);
        use_a_child(turn);
        be_interrupted(ends[0]);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec < end);
    setitimer(ITIMER_REAL, &never, NULL);
    printf(signals > 0 && kept == 1.5 ? "right\n" : "wrong: no signal, or the handler disturbed a number\n");
    return 0;
}
