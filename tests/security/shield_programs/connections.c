/* A server on the port that the first argument names, which uses connections as programs do that interrupt, close and reuse at the same time.
 * The second is the scenario; what it prints is the same natively and shielded. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { JUMPS = 20, SMALL_STACK = 16 << 10, BUFFER = 1 << 16, A_MOMENT = 200000, TICK = 1000 };

static int listener;

static void listen_on(int port) {
    int on = 1;
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (void *)&own, sizeof own) || listen(listener, 10)) exit(3);
}

static int accept_one(void) { return accept(listener, NULL, NULL); }

/* All that the peer sends, sent back. */
static void echo(int fd) {
    static __thread char few[256];
    long n;
    while ((n = read(fd, few, sizeof few)) > 0 || (n < 0 && errno == EINTR))
        for (long at = 0; at < n;) {
            long sent = write(fd, few + at, (size_t)(n - at));
            if (sent > 0) at += sent;
            else if (errno != EINTR) return;
        }
}

static sigjmp_buf back;

static void jump(int signal) {
    (void)signal;
    siglongjmp(back, 1);
}

/* Interrupted in the middle of a call that waits, which is left for good. */
static int jumps_out_of(int (*call)(int fd), int fd) {
    struct itimerval soon = {.it_value.tv_usec = 5000}, never = {0};
    if (sigsetjmp(back, 1)) return 1;
    setitimer(ITIMER_REAL, &soon, NULL);
    call(fd);
    setitimer(ITIMER_REAL, &never, NULL);
    return 0;
}

static int waits_for_data(int fd) {
    char byte;
    return (int)recv(fd, &byte, 1, MSG_PEEK);
}

static int waits_for_vectors(int fd) {
    char byte;
    struct iovec parts[20];
    for (int i = 0; i < 20; i++) parts[i] = (struct iovec){&byte, 1};
    return (int)readv(fd, parts, 20);
}

static int waits_for_peer(int fd) { return accept(fd, NULL, NULL); }

static void jumped(void) {
    int count = 0;
    signal(SIGALRM, jump);
    for (int i = 0; i < JUMPS; i++) count += jumps_out_of(waits_for_peer, listener);
    printf("%d ", count);
    fflush(stdout);
    puts("accepts"), fflush(stdout); /* now the peer comes */
    int fd = accept_one();
    if (write(fd, "!", 1) != 1) puts("cannot write");
    for (int i = 0; i < JUMPS; i++) count += jumps_out_of(waits_for_data, fd);
    for (int i = 0; i < JUMPS; i++) count += jumps_out_of(waits_for_vectors, fd);
    printf("%d jumps\n", count);
    if (write(fd, "?", 1) != 1) puts("cannot write");
    echo(fd);
    close(fd);
}

static void *left_behind(void *given) {
    char text[64];
    return recv(*(int *)given, text, sizeof text, 0) > 0 ? NULL : given; /* once: the number is not its own any more */
}

/* A thread waits for a peer while its number is closed, and is another connection's at once. What the first peer sends is not looked for in
 * the second connection. */
static void reused(void) {
    pthread_t thread;
    int first = accept_one(), number = first;
    pthread_create(&thread, NULL, left_behind, &number);
    usleep(A_MOMENT);
    close(first);
    puts("closed"), fflush(stdout); /* now the second peer comes, and the first one goes on */
    int second = accept_one();
    printf("%s\n", second == first ? "the same number" : "another number");
    usleep(2 * A_MOMENT);
    echo(second);
    close(second);
    puts("end");
}

/* Likewise, but then it is a pipe. */
static void piped(void) {
    pthread_t thread;
    int first = accept_one(), number = first, ends[2];
    char text[8] = "";
    pthread_create(&thread, NULL, left_behind, &number);
    usleep(A_MOMENT);
    close(first);
    if (pipe2(ends, O_NONBLOCK)) return;
    puts("closed"), fflush(stdout);
    usleep(2 * A_MOMENT);
    if (write(ends[1], "piped", 5) != 5 || read(ends[0], text, 5) != 5) puts("nothing in the pipe");
    printf("%s\n", text);
    int second = accept_one();
    echo(second);
    close(second);
}

static void *serve_one(void *unused) {
    (void)unused;
    int fd = accept_one();
    echo(fd);
    close(fd);
    return NULL;
}

/* With the smallest stack that the C library gives. */
static void small(void) {
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    if (pthread_attr_setstacksize(&attributes, SMALL_STACK)) puts("no such stack");
    pthread_create(&thread, &attributes, serve_one, NULL);
    pthread_join(thread, NULL);
    puts("end");
}

static volatile sig_atomic_t ticks;

static void tick(int signal) {
    (void)signal;
    ticks++;
}

static void storm(void) {
    struct itimerval often = {{0, TICK}, {0, TICK}};
    int fd = accept_one();
    signal(SIGALRM, tick);
    siginterrupt(SIGALRM, 1);
    setitimer(ITIMER_REAL, &often, NULL);
    echo(fd);
    close(fd);
    puts(ticks > 10 ? "many" : "few");
}

int main(int count, char **words) {
    static const struct {
        const char *name;
        void (*run)(void);
    } all[] = {{"jumped", jumped}, {"reused", reused}, {"piped", piped}, {"small", small}, {"storm", storm}};
    if (count < 3) return 2;
    alarm(50);
    listen_on(atoi(words[1]));
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (!strcmp(all[i].name, words[2])) {
            puts("listens"), fflush(stdout);
            all[i].run();
            return 0;
        }
    return 2;
}
