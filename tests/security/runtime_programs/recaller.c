/* Sends the guard's recalls to processes, as nobody but the guard should, until it is killed: recaller SIGNAL PID... */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    const struct timespec moment = {0, 300 * 1000};
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_code = -0x434c; /* GUARD_RECALL: runtime/src/guard_signals.h */
    for (unsigned long round = 0;; round++) {
        info.si_errno = round % 3 ? 0 : SIGCONT; /* what the process shall send itself after it */
        info.si_uid = round % 2;                 /* GUARD_TIMED */
        for (int i = 2; i < argc; i++)
            syscall(SYS_rt_sigqueueinfo, atoi(argv[i]), atoi(argv[1]), &info);
        nanosleep(&moment, NULL);
    }
}
