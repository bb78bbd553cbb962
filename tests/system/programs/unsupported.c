/* Asks for what an emulated machine has not: threads, processes, signal handlers, sockets. Says what it got. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void *thread(void *nothing) { return nothing; }
static void handler(int number) { (void)number; }

static int failed(const char *what, int number) {
    if (number == 0) return 0;
    fprintf(stderr, "%s: %s\n", what, strerror(number));
    return 1;
}

int main(int count, char **words) {
    const char *what = count > 1 ? words[1] : "";
    if (!strcmp(what, "thread")) {
        pthread_t one;
        return failed("pthread_create", pthread_create(&one, NULL, thread, NULL));
    }
    if (!strcmp(what, "fork")) return failed("fork", fork() < 0 ? errno : 0);
    if (!strcmp(what, "system")) return failed("system", system("true") ? ENOSYS : 0);
    if (!strcmp(what, "popen")) return failed("popen", popen("true", "r") ? 0 : errno);
    if (!strcmp(what, "exec")) return failed("execve", execl("/bin/true", "true", NULL) ? errno : 0);
    if (!strcmp(what, "raise")) {
        signal(SIGUSR1, handler);
        return failed("raise", raise(SIGUSR1) ? errno : 0);
    }
    if (!strcmp(what, "alarm")) return failed("alarm", (errno = 0, alarm(1), errno));
    if (!strcmp(what, "socket")) return failed("socket", socket(AF_INET, SOCK_STREAM, 0) < 0 ? errno : 0);
    if (!strcmp(what, "ignored")) return socket(AF_INET, SOCK_STREAM, 0) < 0 ? 0 : 1;
    return 99;
}
