/* Registers: attaching to every thread by ptrace(2), as a debugger does. Where that works, what stands in them is searched. */
#define _GNU_SOURCE
#include "sampler.h"
#include <dirent.h>
#include <elf.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef NT_X86_XSTATE
#define NT_X86_XSTATE 0x202
#endif

/* Waits until an attached thread has stopped, or has ended: then this was its last notice, and its parent gets it now. A thread that
 * stopped for a signal gets the signal when it goes on. */
static bool await_stop(pid_t thread, long *signal) {
    int status;
    pid_t seen;
    ptrace(PTRACE_INTERRUPT, thread, NULL, NULL);
    while ((seen = waitpid(thread, &status, __WALL | WNOHANG)) == 0)
        usleep(10);
    *signal = seen == thread && status >> 16 != PTRACE_EVENT_STOP ? WSTOPSIG(status) : 0;
    return seen == thread && WIFSTOPPED(status);
}

static void search_set(const struct place *place, pid_t thread, int set) {
    static _Thread_local char registers[1 << 15];
    struct iovec to = {registers, sizeof registers};
    if (ptrace(PTRACE_GETREGSET, thread, set, &to) == 0)
        search_registers(place, registers, to.iov_len);
}

static void look_at_thread(const struct place *place, pid_t thread) {
    if (ptrace(PTRACE_SEIZE, thread, NULL, NULL) != 0) {
        count(place->process, "attach refused", 1);
        return;
    }
    count(place->process, "attached", 1);
    long signal;
    if (!await_stop(thread, &signal))
        return;
    search_set(place, thread, NT_PRSTATUS);
    search_set(place, thread, NT_PRFPREG);
    search_set(place, thread, NT_X86_XSTATE);
    ptrace(PTRACE_DETACH, thread, NULL, signal);
}

void look_at_registers(pid_t pid, const char *name) {
    char path[64];
    struct place place = {pid, name, "registers", ""};
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    for (struct dirent *task; tasks && (task = readdir(tasks));)
        if (task->d_name[0] != '.')
            look_at_thread(&place, atoi(task->d_name));
    if (tasks)
        closedir(tasks);
}
