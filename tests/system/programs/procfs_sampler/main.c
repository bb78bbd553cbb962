/* procfs-sampler OUTPUT SECONDS TRACE-PAUSE DIRECTORY... -- PROGRAM [ARGS...]
 *
 * Secrets come by standard input. PROGRAM runs in the current directory, its output goes to files in OUTPUT. Four threads look
 * all the time, from before the start until everything below has ended: texts, descriptors and stacks; all memory; registers,
 * with a pause of TRACE-PAUSE microseconds (0: never); OUTPUT and the directories. Then one JSON document is printed. */
#define _GNU_SOURCE
#include "sampler.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TEXTS, MEMORY, REGISTERS, FILES, LOOKERS };

static atomic_bool finished;
static atomic_ulong passes[LOOKERS];
static useconds_t trace_pause;
static char **directories;
static size_t directory_count;

static void become_program(const char *output, char **command) {
    char path[4096];
    struct rlimit cores;
    getrlimit(RLIMIT_CORE, &cores);
    cores.rlim_cur = cores.rlim_max;
    setrlimit(RLIMIT_CORE, &cores);
    dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), 0);
    for (int fd = 1; fd <= 2; fd++) {
        snprintf(path, sizeof path, "%s/%s", output, fd == 1 ? "stdout" : "stderr");
        dup2(open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600), fd);
    }
    execvp(command[0], command);
    _exit(127);
}

/* The parent of all that is watched. It is forked before the secrets are read, so no process below ever had a copy of them. */
static pid_t fork_launcher(int to_launcher[2], int from_launcher[2], const char *output, char **command) {
    pid_t launcher = fork();
    if (launcher != 0)
        return launcher;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    close(to_launcher[1]);
    close(from_launcher[0]);
    char go;
    if (read(to_launcher[0], &go, 1) != 1)
        _exit(0);
    pid_t program = fork();
    if (program == 0)
        become_program(output, command);
    int status, of_program = 0;
    for (pid_t ended; (ended = waitpid(-1, &status, 0)) > 0;)
        if (ended == program)
            of_program = status;
    (void)!write(from_launcher[1], &of_program, sizeof of_program);
    _exit(0);
}

static void pass(size_t looker) {
    static _Thread_local pid_t members[MOST_PROCESSES];
    char name[32];
    for (size_t i = 0, known = tree_members(members); i < known && looker != FILES; i++) {
        name_of(members[i], name);
        if (looker == TEXTS) {
            look_at_texts(members[i], name);
            look_at_descriptors(members[i], name);
            look_at_memory(members[i], name, true);
        } else if (looker == MEMORY) {
            look_at_memory(members[i], name, false);
        } else {
            look_at_registers(members[i], name);
        }
    }
    for (size_t i = 0; i < directory_count && looker == FILES; i++)
        look_at_directory(directories[i], 0);
}

static void *look(void *argument) {
    size_t looker = (size_t)argument;
    if (looker == REGISTERS && !trace_pause)
        return NULL;
    while (!finished) {
        pass(looker);
        passes[looker]++;
        usleep(looker == REGISTERS ? trace_pause : looker == FILES ? 1000 : 50);
    }
    return NULL;
}

/* Waits until everybody has looked once more. */
static void await_pass(void) {
    for (size_t i = 0; i < LOOKERS; i++)
        for (unsigned long before = passes[i]; passes[i] < before + 2 && !(i == REGISTERS && !trace_pause);)
            usleep(100);
}

static bool ends_in_time(int from_launcher, time_t seconds, int *status) {
    struct timespec now, start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        if (read(from_launcher, status, sizeof *status) == sizeof *status)
            return true;
        usleep(1000);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - start.tv_sec < seconds);
    pid_t members[MOST_PROCESSES];
    for (size_t i = 0, known = tree_members(members); i < known; i++)
        kill(members[i], SIGKILL);
    return false;
}

int main(int argc, char **argv) {
    int to_launcher[2], from_launcher[2], status = 0, at = 4;
    while (at < argc && strcmp(argv[at], "--") != 0)
        at++;
    if (at + 1 >= argc)
        return 2;
    directories = argv + 4;
    directory_count = (size_t)at - 4;
    trace_pause = (useconds_t)atoi(argv[3]);
    clock_gettime(CLOCK_REALTIME_COARSE, &start_time);
    if (pipe2(to_launcher, O_CLOEXEC) != 0 || pipe2(from_launcher, O_CLOEXEC | O_NONBLOCK) != 0)
        return 2;
    root = fork_launcher(to_launcher, from_launcher, argv[1], argv + at + 1);
    needles_read();
    pthread_t threads[LOOKERS];
    for (size_t i = 0; i < LOOKERS; i++)
        pthread_create(&threads[i], NULL, look, (void *)i);
    await_pass();
    (void)!write(to_launcher[1], "g", 1);
    bool ended = ends_in_time(from_launcher[0], atoi(argv[2]), &status);
    await_pass();
    finished = true;
    for (size_t i = 0; i < LOOKERS; i++)
        pthread_join(threads[i], NULL);
    look_at_kernel_log();
    char ending[256];
    snprintf(ending, sizeof ending, "\"ended\": %s, \"status\": %d, \"passes\": [%lu, %lu, %lu, %lu]", ended ? "true" : "false",
             status, passes[0], passes[1], passes[2], passes[3]);
    print_record(ending);
    return 0;
}
