/* What threads and children do to numbers of descriptors at the same time, in the directory that the first argument names. The second is the
 * scenario; what it prints is the same natively and shielded. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SPAWNERS = 12, ROUNDS = 3, MANY = 40, CLOSES = 6000, LOCKED = 100, JUMPS = 20, DIRECTORIES = 200, PATH_ROOM = 512 };

extern char **environ;
static const char *directory;

struct name {
    char text[PATH_ROOM];
};

static struct name name_of(const char *word, int number) {
    struct name name;
    snprintf(name.text, sizeof name.text, "%s/%s%d", directory, word, number);
    return name;
}

static int file(const char *word, int number) { return open(name_of(word, number).text, O_CREAT | O_RDWR | O_CLOEXEC, 0600); }

static int ended(pid_t child) {
    int status;
    if (waitpid(child, &status, 0) != child) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

/* A child's output goes to a file of its own; the thread ends, and nobody with its thread pointer comes by again. */
static void *spawn_one(void *given) {
    int number = *(int *)given, fd = file("spawned", number);
    char word[32], found[32] = "", *words[] = {"/bin/echo", "-n", word, NULL};
    pid_t child;
    posix_spawn_file_actions_t actions;
    snprintf(word, sizeof word, "word %d", number);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fd, 1);
    int error = posix_spawn(&child, words[0], &actions, NULL, words, environ);
    if (error) printf("spawn: %s\n", strerror(error));
    else if (ended(child)) puts("the child failed");
    else if (pread(fd, found, sizeof found - 1, 0) < 0 || strcmp(found, word)) printf("%s instead of %s\n", found, word);
    close(fd);
    return NULL;
}

static void spawn(void) {
    static int numbers[ROUNDS * SPAWNERS];
    pthread_t thread[SPAWNERS];
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < SPAWNERS; i++) {
            int *number = &numbers[round * SPAWNERS + i];
            *number = round * SPAWNERS + i;
            pthread_create(&thread[i], NULL, spawn_one, number);
        }
        for (int i = 0; i < SPAWNERS; i++) pthread_join(thread[i], NULL);
    }
}

static int in_vfork_child(const int *fd, int pipe_end) {
    for (int i = 0; i < MANY; i++) close(fd[i]);
    for (int i = 0; i < MANY; i++)
        if (fcntl(fd[i], F_GETFD) != -1) return 1;
    int last = fd[MANY - 1];
    if (dup2(pipe_end, last) != last) return 2;
    if (write(last, "piped", 5) != 5) return 3;
    execl("/nonexistent", "none", (char *)NULL);
    return errno == ENOENT ? 0 : 4;
}

/* Closes more than a few, and has something else in their places. */
static void vforked(void) {
    int fd[MANY], ends[2], good = 0;
    char text[8] = "";
    if (pipe(ends)) return;
    for (int i = 0; i < MANY; i++) {
        fd[i] = file("many", i);
        if (write(fd[i], "m", 1) != 1) puts("cannot write");
    }
    pid_t child = vfork();
    if (!child) _exit(in_vfork_child(fd, ends[1]));
    printf("child: %d\n", ended(child));
    close(ends[1]);
    if (read(ends[0], text, 5) != 5) puts("nothing in the pipe");
    for (int i = 0; i < MANY; i++) good += pread(fd[i], text, 1, 0) == 1 && *text == 'm';
    printf("%d of the parent's\n", good);
}

static void *opener(void *stop) {
    while (!__atomic_load_n((int *)stop, __ATOMIC_RELAXED)) close(file("opened", 0));
    return NULL;
}

/* The number that one thread closes is another's at once, for a pipe. */
static void reused(void) {
    int stop = 0, bad = 0;
    pthread_t thread[2];
    for (int i = 0; i < 2; i++) pthread_create(&thread[i], NULL, opener, &stop);
    for (int i = 0; i < CLOSES; i++) {
        int ends[2];
        char byte = 'x';
        if (pipe2(ends, O_NONBLOCK)) continue;
        bad += write(ends[1], &byte, 1) != 1 || read(ends[0], &byte, 1) != 1;
        bad += (close(ends[0]) != 0) + (close(ends[1]) != 0);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    printf("%d failed\n", bad);
}

static int locks_child(const int *fd) {
    int taken = 0;
    for (int i = 0; i < LOCKED; i++) {
        struct flock lock = {.l_type = F_WRLCK, .l_len = 10};
        taken += fcntl(fd[i], F_SETLK, &lock) != 0;
    }
    return taken;
}

static int taken_from_outside(const int *fd) {
    pid_t child = fork();
    if (!child) _exit(locks_child(fd));
    return ended(child);
}

/* Locks on many files; closing any descriptor of a file gives that file's back, and no other's. */
static void locked(void) {
    int fd[LOCKED], made = 0;
    for (int i = 0; i < LOCKED; i++) {
        struct flock lock = {.l_type = F_WRLCK, .l_start = 5, .l_len = 10};
        fd[i] = file("locked", i);
        made += fcntl(fd[i], F_SETLK, &lock) == 0;
    }
    printf("%d locked, %d for others\n", made, taken_from_outside(fd));
    for (int i = 0; i < LOCKED; i += 2) close(file("locked", i));
    printf("%d for others\n", taken_from_outside(fd));
}

static sigjmp_buf back;

static void jump(int signal) {
    (void)signal;
    siglongjmp(back, 1);
}

static int wait_and_jump(int fd) {
    struct itimerval soon = {.it_value.tv_usec = 10000};
    struct flock lock = {.l_type = F_WRLCK};
    if (sigsetjmp(back, 1)) return 1;
    setitimer(ITIMER_REAL, &soon, NULL);
    fcntl(fd, F_SETLKW, &lock);
    return 0;
}

static void jumped(void) {
    int fd = file("held", 0), ends[2], count = 0;
    char byte = 'x';
    struct flock lock = {.l_type = F_WRLCK};
    if (pipe(ends)) return;
    pid_t child = fork();
    if (!child) {
        if (fcntl(fd, F_SETLK, &lock) || write(ends[1], &byte, 1) != 1) _exit(1);
        for (;;) pause();
    }
    if (read(ends[0], &byte, 1) != 1) return;
    signal(SIGALRM, jump);
    for (int i = 0; i < JUMPS; i++) count += wait_and_jump(fd);
    printf("%d jumps, %d written\n", count, (int)pwrite(fd, "text", 4, 0));
    kill(child, SIGKILL);
    ended(child);
    printf("locked: %d\n", fcntl(fd, F_SETLK, &lock));
}

static void directories(void) {
    int count = 0;
    while (count < DIRECTORIES && open(directory, O_RDONLY | O_DIRECTORY) >= 0) count++;
    printf("%d directories\n", count);
}

static int shares_memory(void *unused) {
    char text[8];
    (void)unused;
    int fd = file("shared", 0);
    usleep(20000); /* its parent comes by meanwhile */
    if (pwrite(fd, "shared", 6, 0) != 6 || pread(fd, text, 6, 0) != 6) _exit(1);
    _exit(0);
}

/* A child in its parent's memory, for which the parent does not wait. */
static void together(void) {
    void *stack = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int child = clone(shares_memory, (char *)stack + (1 << 16), CLONE_VM | SIGCHLD, NULL);
    for (int i = 0; i < 20; i++) {
        close(file("mine", 0));
        usleep(2000);
    }
    printf("child: %d\n", ended(child));
}

int main(int count, char **words) {
    static const struct {
        const char *name;
        void (*run)(void);
    } all[] = {{"spawn", spawn}, {"vforked", vforked}, {"reused", reused}, {"locked", locked}, {"jumped", jumped}, {"directories", directories}, {"together", together}};
    if (count < 3) return 2;
    directory = words[1];
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (!strcmp(all[i].name, words[2])) {
            all[i].run();
            return 0;
        }
    return 2;
}
