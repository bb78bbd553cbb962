/* fork(2), vfork(2), clone(2), posix_spawn(3), wait(2): copies are copies, what is shared is shared. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "scenarios.h"

enum { MB = 1 << 20 };

static char global[70000] = "from the parent";
static __thread int thread_local = 5;

static int ended(pid_t child) {
    int status = -1;
    while (waitpid(child, &status, __WALL) < 0 && errno == EINTR) continue;
    return status;
}

static int all_bytes(const char *at, size_t size, char byte) {
    for (size_t i = 0; i < size; i++)
        if (at[i] != byte) return 0;
    return 1;
}

static char *memory(size_t size, int flags) {
    return mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
}

/* Both sides write everywhere at the same time; neither sees the other's bytes. */
static void copies_are_independent(void) {
    char *map = memory(3 * MB, MAP_PRIVATE), *heap = malloc(100000), stack[5000];
    int go[2];
    memset(map, 'a', 3 * MB), memset(heap, 'b', 100000), memset(stack, 'c', sizeof stack);
    if (pipe(go)) return;
    pid_t child = fork();
    char mine = child ? 'P' : 'C';
    int before = all_bytes(map, 3 * MB, 'a') && all_bytes(heap, 100000, 'b') && all_bytes(stack, sizeof stack, 'c');
    memset(map, mine, 3 * MB), memset(heap, mine, 100000), memset(stack, mine, sizeof stack), memset(global, mine, sizeof global);
    thread_local = mine;
    if (child && write(go[1], "g", 1) != 1) return;
    char byte;
    if (!child && read(go[0], &byte, 1) != 1) _exit(9);
    int after = all_bytes(map, 3 * MB, mine) && all_bytes(heap, 100000, mine) && all_bytes(stack, sizeof stack, mine) &&
                all_bytes(global, sizeof global, mine) && thread_local == mine;
    if (!child) _exit(before && after ? 0 : 1);
    printf("parent %d %d child %d\n", before, after, ended(child));
}

static void shared_is_shared(void) {
    volatile char *map = memory(1 << 16, MAP_SHARED);
    map[0] = 'a', map[65535] = 'b';
    pid_t child = fork();
    if (child == 0) {
        int ok = map[0] == 'a' && map[65535] == 'b';
        map[40000] = ok ? 'c' : 'x';
        pid_t grandchild = fork();
        if (grandchild == 0) {
            map[50000] = map[40000] + 1;
            _exit(0);
        }
        _exit(ended(grandchild));
    }
    int status = ended(child);
    printf("status %d: %c %c\n", status, map[40000], map[50000]);
}

static void shared_file_is_shared(void) {
    char name[] = "/tmp/cloister-shared-XXXXXX";
    int fd = mkstemp(name);
    unlink(name);
    if (ftruncate(fd, 8192)) return;
    volatile char *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    volatile char *copy = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    copy[1] = 'p';
    pid_t child = fork();
    if (child == 0) {
        map[0] = 'c';
        copy[1] = 'q';
        _exit(0);
    }
    ended(child);
    char bytes[2] = {0};
    printf("read %zd: %c, private %c in file %d\n", pread(fd, bytes, 2, 0), bytes[0], copy[1], bytes[1]);
}

static void protections_are_inherited(void) {
    char *map = memory(5 * 4096, MAP_PRIVATE);
    memset(map, 'm', 5 * 4096);
    mprotect(map + 4096, 4096, PROT_READ);
    mprotect(map + 8192, 4096, PROT_NONE);
    munmap(map + 12288, 4096);
    for (int page = 0; page < 5; page++)
        for (int writing = 0; writing < 2; writing++) {
            pid_t child = fork();
            if (child == 0) {
                if (writing) map[page * 4096] = 'w';
                else _exit(map[page * 4096]);
                _exit(0);
            }
            int status = ended(child);
            printf("page %d write %d: exit %d signal %d\n", page, writing, WEXITSTATUS(status), WTERMSIG(status));
        }
    mprotect(map + 8192, 4096, PROT_READ);
    printf("hidden page still %c\n", map[8192]);
}

static void generations(void) {
    int depth = 0, status = 0;
    char *map = memory(MB, MAP_PRIVATE);
    for (; depth < 8; depth++) {
        memset(map + depth * 1000, '0' + depth, 1000);
        pid_t child = fork();
        if (child) {
            status = ended(child);
            break;
        }
    }
    int ok = 1;
    for (int i = 0; i < depth; i++) ok &= all_bytes(map + i * 1000, 1000, (char)('0' + i));
    if (depth) _exit(ok ? WEXITSTATUS(status) + 1 : 100);
    printf("generations %d\n", WEXITSTATUS(status) + 1);
}

static void many_children(void) {
    int wrong = 0;
    pid_t children[40];
    for (int i = 0; i < 40; i++)
        if ((children[i] = fork()) == 0) {
            char *p = malloc(50000);
            memset(p, i, 50000);
            usleep((unsigned)(i * 37 % 11) * 1000);
            _exit(all_bytes(p, 50000, (char)i) ? i : 200);
        }
    for (int i = 0; i < 40; i++) wrong += WEXITSTATUS(ended(children[i])) != i;
    printf("wrong %d left %ld\n", wrong, result_of(wait(NULL)));
}

static void vfork_shares(void) {
    volatile int value = 1;
    pid_t child = vfork();
    if (child == 0) {
        value = 2;
        _exit(6);
    }
    int status = ended(child);
    printf("value %d exit %d\n", value, WEXITSTATUS(status));
    child = vfork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", "exit 7", NULL);
        _exit(1);
    }
    status = ended(child);
    printf("exit %d\n", WEXITSTATUS(status));
    child = vfork();
    if (child == 0) {
        execl("/nonexistent/program", "x", NULL);
        _exit(errno);
    }
    status = ended(child);
    printf("errno %d\n", WEXITSTATUS(status));
}

static void spawning(void) {
    char *words[] = {"sh", "-c", "cat; echo $V; exit 4", NULL}, *environment[] = {"V=value", "PATH=/bin:/usr/bin", NULL};
    posix_spawn_file_actions_t actions;
    int ends[2], status;
    pid_t child;
    char text[64] = {0};
    if (pipe(ends)) return;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    printf("spawn %d\n", posix_spawn(&child, "/bin/sh", &actions, NULL, words, environment));
    close(ends[1]);
    status = ended(child);
    printf("exit %d text %zd %s", WEXITSTATUS(status), read(ends[0], text, 63), text);
    printf("missing %d\n", posix_spawn(&child, "/nonexistent", NULL, NULL, words, environment));
    printf("in PATH %d\n", posix_spawnp(&child, "true", NULL, NULL, (char *[]){"true", NULL}, environment));
    printf("exit %d\n", WEXITSTATUS(ended(child)));
}

static void spawn_attributes(void) {
    char *words[] = {"sh", "-c", "kill -USR1 $$; grep -E 'SigBlk|SigIgn' /proc/self/status; [ $(ps -o pgid= -p $$) = $$ ] && echo own group", NULL};
    posix_spawnattr_t attributes;
    sigset_t blocked, standard;
    pid_t child;
    extern char **environ;
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
    sigemptyset(&blocked), sigemptyset(&standard);
    sigaddset(&blocked, SIGTERM), sigaddset(&standard, SIGUSR2);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setsigmask(&attributes, &blocked);
    posix_spawnattr_setsigdefault(&attributes, &standard);
    int error = posix_spawn(&child, "/bin/sh", NULL, &attributes, words, environ); /* the child may speak before it returns */
    int status = error ? -1 : ended(child);
    printf("spawn %d\n", error);
    printf("status %d\n", status);
}

static int clone_child(void *arg) {
    *(int *)arg = 11;
    return 12;
}

static void clone_variants(void) {
    static char stack[1 << 16] __attribute__((aligned(16)));
    static volatile int value;
    const int flags[] = {SIGCHLD, SIGCHLD | CLONE_VM, SIGCHLD | CLONE_VM | CLONE_VFORK, SIGCHLD | CLONE_FS, SIGCHLD | CLONE_UNTRACED, 0};
    for (unsigned i = 0; i < sizeof flags / sizeof *flags; i++) {
        value = 1;
        pid_t child = clone(clone_child, stack + sizeof stack, flags[i], (void *)&value);
        int status = child < 0 ? -errno : ended(child);
        printf("flags %#x: status %d value %d\n", flags[i], status, value);
    }
}

static void clone_tids(void) {
    volatile pid_t parent_tid = 0, child_tid = 0;
    long child = syscall(SYS_clone, SIGCHLD | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID, NULL, &parent_tid, &child_tid, 0);
    if (child == 0) _exit(child_tid == getpid() && child_tid == (pid_t)syscall(SYS_gettid) ? 0 : 1);
    int status = ended((pid_t)child);
    printf("parent tid ok %d child tid untouched here %d status %d\n", parent_tid == (pid_t)child, child_tid == 0, status);
}

static void ids_and_names(void) {
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        int ok = getppid() == parent && getpid() != parent && getpgrp() == getpgid(parent);
        prctl(PR_SET_NAME, "renamed");
        _exit(ok ? 0 : 1);
    }
    printf("status %d\n", ended(child));
    child = fork();
    if (child == 0) {
        int fd = open("/proc/self/stat", O_RDONLY), ok = setsid() == getpid() && getsid(0) == getpid();
        _exit(fd >= 0 && ok ? 0 : 1);
    }
    printf("session %d\n", ended(child));
}

static void reaping(void) {
    siginfo_t info;
    pid_t child = fork();
    if (child == 0) _exit(33);
    printf("waitid %ld", result_of(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT)));
    printf(" code %d status %d\n", info.si_code, info.si_status);
    int status = 0;
    pid_t got = waitpid(child, &status, WNOHANG);
    printf("same %d status %d\n", got == child, WEXITSTATUS(status));
    printf("again %ld\n", result_of(waitpid(child, &status, 0)));
    struct rusage usage;
    child = fork();
    if (child == 0) raise(SIGKILL);
    got = wait4(child, &status, 0, &usage);
    printf("same %d signal %d\n", got == child, WTERMSIG(status));
}

/* A grandchild whose parent ends belongs to the nearest subreaper. */
static void orphans(void) {
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t child = fork();
    if (child == 0) {
        pid_t middle = getpid();
        if (fork() == 0) {
            while (getppid() == middle) usleep(1000);
            _exit(21);
        }
        _exit(0);
    }
    printf("child %d\n", ended(child));
    int status;
    pid_t orphan = wait(&status);
    printf("orphan %d exit %d\n", orphan > 0, WEXITSTATUS(status));
}

static void death_signal(void) {
    int ends[2];
    char byte;
    if (pipe(ends)) return;
    pid_t middle = fork();
    if (middle == 0) {
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (write(ends[1], "r", 1) != 1) _exit(1);
            for (;;) pause();
        }
        pause();
    }
    close(ends[1]);
    if (read(ends[0], &byte, 1) != 1) return;
    kill(middle, SIGKILL);
    ended(middle);
    printf("end of file %zd\n", read(ends[0], &byte, 1)); /* only when the grandchild is dead too */
}

static void limits(void) {
    struct rlimit limit;
    pid_t child = fork();
    if (child == 0) {
        limit = (struct rlimit){64, 64};
        setrlimit(RLIMIT_NOFILE, &limit);
        int opened = 0;
        while (open("/dev/null", O_RDONLY) >= 0) opened++;
        printf("descriptors %d errno %d\n", opened, errno);
        _exit(0);
    }
    ended(child);
    child = fork();
    if (child == 0) {
        FILE *file = tmpfile(); /* before the limit, which in the enclave holds for new memory too */
        limit = (struct rlimit){1000, 1000};
        setvbuf(file, NULL, _IONBF, 0);
        setrlimit(RLIMIT_FSIZE, &limit);
        for (int i = 0; i < 2000; i++) fputc('x', file);
        _exit(0);
    }
    printf("file size: signal %d\n", WTERMSIG(ended(child)));
    child = fork();
    if (child == 0) {
        limit = (struct rlimit){1, 1};
        setrlimit(RLIMIT_CPU, &limit);
        for (;;) continue;
    }
    printf("processor: signal %d\n", WTERMSIG(ended(child)));
    getrlimit(RLIMIT_STACK, &limit);
    printf("stack %ld %ld\n", (long)limit.rlim_cur, (long)limit.rlim_max);
    getrlimit(RLIMIT_NOFILE, &limit);
    printf("files %ld %ld\n", (long)limit.rlim_cur, (long)limit.rlim_max);
}

static volatile int deep;
static int sink(int depth) {
    volatile char room[1024];
    room[0] = (char)depth;
    deep = depth;
    return depth > 7000 ? room[0] : sink(depth + 1) + room[0];
}

/* Seven megabytes of the usual eight can be used; endless recursion ends in SIGSEGV, not in somebody else's memory. */
static void deep_stack(void) {
    pid_t child = fork();
    if (child == 0) {
        sink(0);
        _exit(0);
    }
    printf("seven megabytes: %d\n", ended(child));
    child = fork();
    if (child == 0) {
        sink(-100000);
        _exit(0);
    }
    printf("endless: signal %d\n", WTERMSIG(ended(child)));
}

static const struct scenario all[] = {
    SCENARIO(copies_are_independent), SCENARIO(shared_is_shared), SCENARIO(shared_file_is_shared), SCENARIO(protections_are_inherited),
    SCENARIO(generations), SCENARIO(many_children), SCENARIO(vfork_shares), SCENARIO(spawning), SCENARIO(spawn_attributes),
    SCENARIO(clone_variants), SCENARIO(clone_tids), SCENARIO(ids_and_names), SCENARIO(reaping), SCENARIO(orphans), SCENARIO(death_signal),
    SCENARIO(limits), SCENARIO(deep_stack),
};

RUN_SCENARIOS(all)
