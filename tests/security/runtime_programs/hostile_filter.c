/* hostile_filter WORD PROGRAM [ARGS...]: starts a program under a seccomp filter whose listener, this process, answers memfd_secret(2)
 * with ordinary memory that it keeps. Prints in how many pieces of that memory the word stands at the end. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 4096, PATIENCE = 20000 };

static int kept[MOST], count;

static int holds(int file, const char *word) {
    struct stat info;
    if (fstat(file, &info) || !info.st_size) return 0;
    char *at = mmap(NULL, info.st_size, PROT_READ, MAP_SHARED, file, 0);
    int found = at != MAP_FAILED && memmem(at, info.st_size, word, strlen(word));
    if (at != MAP_FAILED) munmap(at, info.st_size);
    return found;
}

static void answer(int listener) {
    struct seccomp_notif call = {0};
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call)) return;
    if (count == MOST) exit(3);
    kept[count] = memfd_create("ordinary", MFD_CLOEXEC);
    struct seccomp_notif_addfd given = {
        .id = call.id, .flags = SECCOMP_ADDFD_FLAG_SEND, .srcfd = kept[count++], .newfd_flags = O_CLOEXEC};
    ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &given);
}

static void start(int channel, char **words) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 447 /* memfd_secret */, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    char done;
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    int listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    if (listener < 0 || write(channel, &listener, sizeof listener) < 0 || read(channel, &done, 1) != 1) _exit(99);
    close(listener);
    close(channel);
    execv(words[0], words);
    _exit(98);
}

int main(int argc, char **argv) {
    int pair[2], number, status, found = 0;
    if (argc < 3 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) return 2;
    pid_t child = fork();
    if (!child) start(pair[1], argv + 2);
    if (read(pair[0], &number, sizeof number) != sizeof number) return 2;
    int listener = syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, child, 0), number, 0);
    if (listener < 0 || write(pair[0], "", 1) != 1) return 2;
    struct pollfd waiting = {.fd = listener, .events = POLLIN};
    while (poll(&waiting, 1, PATIENCE) > 0 && waiting.revents & POLLIN) answer(listener);
    waitpid(child, &status, 0);
    for (int i = 0; i < count; i++) found += holds(kept[i], argv[1]);
    printf("%d\n", found);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
