/* fork(2) at its edges: how much is copied, and what happens between fork and exec or exit. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>

#include "scenarios.h"

enum { MB = 1 << 20, PAGE_SIZE = 4096 };

static int ended(pid_t child) {
    int status = -1;
    while (waitpid(child, &status, __WALL) < 0 && errno == EINTR) continue;
    return status;
}

static char *memory(size_t size) { return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }

/* Pages that were never touched among others that were, and all of it more than one piece of work. */
static void much_is_copied(void) {
    enum { SIZE = 40 * MB };
    unsigned *map = (unsigned *)memory(SIZE);
    for (size_t page = 0; page < SIZE / PAGE_SIZE; page++)
        if (page % 7) map[page * PAGE_SIZE / sizeof *map] = (unsigned)page;
    pid_t child = fork();
    int right = 0;
    for (size_t page = 0; page < SIZE / PAGE_SIZE; page++) {
        right += map[page * PAGE_SIZE / sizeof *map] == (page % 7 ? page : 0);
        map[page * PAGE_SIZE / sizeof *map + 1] = child ? 1 : 2;
    }
    struct stat tasks;
    int alone = stat("/proc/self/task", &tasks) == 0 && tasks.st_nlink == 3 && unshare(CLONE_VM) == 0;
    if (!child) {
        printf("child: right %d alone %d\n", right, alone);
        _exit(0);
    }
    int status = ended(child);
    printf("parent: right %d alone %d status %d\n", right, alone, status);
}

/* What the kernel writes in the child arrives in its own pages, and in nobody else's. */
static char written[6][PAGE_SIZE * 2];

static void kernel_writes(void) {
    int ends[2], *pair = (int *)(written[0] + 4000);
    if (pipe(ends) || write(ends[1], "from a pipe", 12) != 12) return;
    memset(written, 1, sizeof written);
    pid_t child = fork();
    if (!child) {
        int ok = read(ends[0], written[1] + 4090, 12) == 12 && pipe(pair) == 0 && getcwd(written[2] + 100, 4096) &&
                 fstat(pair[0], (struct stat *)(written[3] + 4000)) == 0 && getrlimit(RLIMIT_STACK, (struct rlimit *)(written[4] + 8)) == 0 &&
                 uname((struct utsname *)(written[5] + 4000)) == 0;
        printf("child: %d %s %d %d %s\n", ok, written[1] + 4090, S_ISFIFO(((struct stat *)(written[3] + 4000))->st_mode),
               written[2][100] == '/', ((struct utsname *)(written[5] + 4000))->sysname);
        _exit(0);
    }
    int status = ended(child), left = 1;
    for (size_t i = 0; i < sizeof written; i++) left &= ((char *)written)[i] == 1;
    printf("parent: %d status %d\n", left, status);
}

static void many_pages_are_written(void) {
    enum { SIZE = 3 * MB };
    char *map = memory(SIZE);
    memset(map, 'p', SIZE);
    pid_t child = fork();
    if (!child) {
        for (size_t at = 0; at < SIZE; at += 512) map[at] = 'c';
        int ok = 1;
        for (size_t at = 0; at < SIZE; at++) ok &= map[at] == (at % 512 ? 'p' : 'c');
        _exit(ok ? 3 : 4);
    }
    int status = ended(child), ok = 1;
    for (size_t at = 0; at < SIZE; at++) ok &= map[at] == 'p';
    printf("status %d parent %d\n", status, ok);
}

static int depth_of(int left) {
    volatile char room[3000];
    memset((char *)room, left, sizeof room);
    return left ? depth_of(left - 1) + (room[7] == (char)left) : 0;
}

static void deep_recursion(void) {
    pid_t child = fork();
    if (!child) _exit(depth_of(1000) == 1000 ? 5 : 6);
    printf("status %d\n", ended(child));
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* The child uses no system call until its parent goes on; its parent does not wait for that. */
static void child_that_computes(void) {
    volatile unsigned *map = (unsigned *)memory(MB), *end = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < MB / 4; i++) map[i] = 7;
    double start = seconds();
    pid_t child = fork();
    if (!child) {
        unsigned sum = 0;
        do
            for (int i = 0; i < MB / 4; i++) sum |= map[i];
        while (!*end);
        map[5] = 1;
        _exit(sum == 7 && map[5] == 1 && map[6] == 7 ? 8 : 9);
    }
    int early = seconds() - start < 1.5;
    for (int i = 0; i < MB / 4; i++) map[i] = 8;
    *end = 1;
    int status = ended(child);
    printf("early %d status %d still %u\n", early, status, map[5]);
}

/* The first process of a new namespace, to which its parent has no number. */
static void child_in_a_namespace(void) {
    printf("unshare %ld\n", result_of(unshare(CLONE_NEWPID)));
    child_that_computes();
}

static void child_that_waits(void) {
    int ends[2];
    char byte = 0;
    if (pipe(ends)) return;
    pid_t child = fork();
    if (!child) _exit(read(ends[0], &byte, 1) == 1 ? byte : 1);
    byte = 7;
    if (write(ends[1], &byte, 1) != 1) return;
    printf("pipe: status %d\n", ended(child));
    char name[] = "/tmp/cloister-fifo-XXXXXX";
    if (!mkdtemp(name)) return;
    char fifo[100];
    snprintf(fifo, sizeof fifo, "%s/fifo", name);
    mkfifo(fifo, 0600);
    child = fork();
    if (!child) _exit(open(fifo, O_RDONLY) >= 0 ? 9 : 1);
    int fd = open(fifo, O_WRONLY);
    printf("fifo: %d status %d\n", fd >= 0, ended(child));
    unlink(fifo), rmdir(name);
}

static void child_that_stops(void) {
    int status = 0;
    pid_t child = fork();
    if (!child) {
        raise(SIGSTOP);
        _exit(4);
    }
    waitpid(child, &status, WUNTRACED);
    printf("stopped %d by %d\n", WIFSTOPPED(status), WSTOPSIG(status));
    kill(child, SIGCONT);
    printf("status %d\n", ended(child));
}

/* Somebody else kills children, wherever they are just then; the parent must see each as killed and keep its memory. */
static void children_that_are_killed(void) {
    char *map = memory(MB);
    int killed = 0, right = 1;
    memset(map, 'k', MB);
    signal(SIGCHLD, SIG_DFL);
    int ends[2];
    if (pipe(ends)) return;
    pid_t killer = fork();
    if (!killer) {
        pid_t victim;
        close(ends[1]);
        for (unsigned i = 0; read(ends[0], &victim, sizeof victim) == sizeof victim; i++) {
            for (volatile unsigned spin = 0; spin < i * 3000; spin++) continue;
            kill(victim, SIGKILL);
        }
        _exit(0);
    }
    for (int i = 0; i < 60; i++) {
        pid_t child = fork();
        if (!child) {
            pid_t self = getpid();
            if (write(ends[1], &self, sizeof self) != sizeof self) _exit(1);
            for (int round = 0;; round++)
                for (int at = 0; at < MB; at += 4096 * (i % 3 + 1)) map[at] = (char)round;
        }
        killed += ended(child) == SIGKILL;
        for (int at = 0; at < MB; at += 4096) right &= map[at] == 'k';
    }
    close(ends[1]);
    ended(killer);
    printf("killed %d right %d\n", killed, right);
}

/* The parent is killed while it waits or copies; its child goes on with its own memory. */
static void parent_that_is_killed(void) {
    int ends[2];
    char answer[20] = {0};
    for (int i = 0; i < 12; i++) {
        if (pipe(ends)) return;
        pid_t middle = fork();
        if (!middle) {
            char *map = memory(MB);
            memset(map, 'm', MB);
            pid_t self = getpid(), child = fork();
            if (child) pause();
            kill(self, SIGKILL);
            int right = 1;
            for (int at = 0; at < MB; at += 100) right &= map[at] == 'm', map[at] = (char)at;
            if (write(ends[1], right ? "r" : "w", 1) != 1) _exit(1);
            _exit(0);
        }
        close(ends[1]);
        int status = ended(middle);
        if (status != SIGKILL || read(ends[0], answer + i, 1) != 1) answer[i] = '?';
        close(ends[0]);
    }
    printf("children %s\n", answer);
}

static void exec_that_fails(void) {
    pid_t child = fork();
    if (!child) {
        char *words[] = {"nothing", NULL};
        execv("/nonexistent/nothing", words);
        int first = errno;
        execv("/", words);
        printf("errno %d %d\n", first, errno);
        execl("/bin/sh", "sh", "-c", "exit 42", NULL);
        _exit(1);
    }
    printf("status %d\n", ended(child));
}

static void limits_in_the_child(void) {
    struct rlimit limit = {5UL << 30, RLIM_INFINITY};
    setrlimit(RLIMIT_AS, &limit);
    pid_t child = fork();
    if (!child) {
        struct rlimit one = {0, 0}, other = {0, 0}, third = {0, 0};
        long results = syscall(SYS_getrlimit, RLIMIT_AS, &one) + syscall(SYS_prlimit64, 0, RLIMIT_AS, NULL, &other) +
                       syscall(SYS_getrlimit, RLIMIT_STACK, &third);
        printf("limits %ld: %ld %ld %ld\n", results, (long)one.rlim_cur, (long)other.rlim_cur, (long)third.rlim_cur);
        _exit(0);
    }
    printf("status %d\n", ended(child));
}

static void children_inside(void) {
    pid_t child = fork();
    if (!child) {
        pid_t inner = vfork();
        if (!inner) _exit(3);
        int first = ended(inner), second = system("exit 5"), third;
        inner = fork();
        if (!inner) {
            inner = fork();
            _exit(inner ? WEXITSTATUS(ended(inner)) + 1 : 20);
        }
        third = ended(inner);
        printf("%d %d %d\n", first, second, third);
        _exit(0);
    }
    printf("status %d\n", ended(child));
}

/* No descriptor is left to the runtime, before or after the fork. */
static void no_descriptors(void) {
    for (int how = 0; how < 2; how++) {
        pid_t middle = fork();
        if (middle) {
            printf("status %d\n", ended(middle));
            continue;
        }
        struct rlimit limit = {40, 200};
        setrlimit(RLIMIT_NOFILE, &limit);
        if (how) while (open("/dev/null", O_RDONLY) >= 0) continue;
        pid_t child = fork();
        if (!child) {
            int opened = 0;
            while (open("/dev/null", O_RDONLY) >= 0) opened++;
            char *p = malloc(1000000);
            if (p) memset(p, 1, 1000000);
            _exit(opened > 0);
        }
        int status = ended(child);
        _exit(WEXITSTATUS(status) + 10 * (errno == EMFILE) + 2 * (child < 0));
    }
}

static void memory_calls(void) {
    char *map = memory(16 * PAGE_SIZE), *brk_before = sbrk(0);
    memset(map, 'm', 16 * PAGE_SIZE);
    for (int how = 0; how < 5; how++) {
        pid_t child = fork();
        if (!child) {
            char *more = NULL;
            if (how == 0) mprotect(map, 4 * PAGE_SIZE, PROT_READ), more = map + 5 * PAGE_SIZE;
            if (how == 1) munmap(map, PAGE_SIZE), more = map + PAGE_SIZE;
            if (how == 2) more = memory(MB);
            if (how == 3) more = sbrk(100 * PAGE_SIZE);
            if (how == 4) madvise(map, PAGE_SIZE, MADV_DONTNEED), more = map;
            int was = more[10];
            more[10] = 'c';
            _exit(was + (more[10] == 'c'));
        }
        printf("how %d exit %d\n", how, WEXITSTATUS(ended(child)));
    }
    int ok = sbrk(0) == brk_before;
    for (int i = 0; i < 16 * PAGE_SIZE; i++) ok &= map[i] == 'm';
    printf("parent %d\n", ok);
}

/* Registers are what they were, whatever happened on the way: vectors, flags, the red zone. */
static void registers_survive(void) {
    static volatile char page[PAGE_SIZE * 3];
    pid_t child = fork();
    if (!child) {
        unsigned long low, carry;
        __asm__ volatile("mov $0x1122334455667788, %%rax\n movq %%rax, %%xmm5\n movq %%rax, %%xmm15\n mov %%rax, -64(%%rsp)\n"
                         "stc\n movb $1, %2\n setc %%cl\n movzbl %%cl, %%ecx\n mov %%rcx, %1\n"
                         "mov $39, %%eax\n syscall\n mov $24, %%eax\n syscall\n mov $186, %%eax\n syscall\n mov $-1, %%eax\n syscall\n"
                         "movq %%xmm5, %%rax\n movq %%xmm15, %%rcx\n cmp %%rax, %%rcx\n jne 1f\n cmp -64(%%rsp), %%rax\n jne 1f\n mov %%rax, %0\n 1:\n"
                         : "=&r"(low), "=&r"(carry), "+m"(page[PAGE_SIZE])
                         :
                         : "rax", "rcx", "r11", "xmm5", "xmm15", "memory", "cc");
        _exit((low == 0x1122334455667788) + 2 * (carry == 1));
    }
    printf("status %d\n", ended(child));
}

/* What the program asks to have dispatched or registered is its own matter, in the child too. */
static void own_dispatch(void) {
    pid_t child = fork();
    if (!child) {
        void *head = NULL;
        size_t size = 0;
        long got = syscall(SYS_get_robust_list, 0, &head, &size);
        long off = result_of(prctl(59, 0, 0, 0, 0)), bad = result_of(prctl(59, 1, 1, 0, 0)), odd = result_of(prctl(59, 7, 0, 0, 0));
        printf("robust %ld %d %zu dispatch %ld %ld %ld unknown %ld\n", got, head != NULL, size, off, bad, odd, result_of(syscall(100000)));
        _exit(0);
    }
    printf("status %d\n", ended(child));
}

static const struct scenario all[] = {
    SCENARIO(much_is_copied),
    SCENARIO(kernel_writes),
    SCENARIO(many_pages_are_written),
    SCENARIO(deep_recursion),
    SCENARIO(child_that_computes),
    SCENARIO(child_in_a_namespace),
    SCENARIO(child_that_waits),
    SCENARIO(child_that_stops),
    SCENARIO(children_that_are_killed),
    SCENARIO(parent_that_is_killed),
    SCENARIO(exec_that_fails),
    SCENARIO(limits_in_the_child),
    SCENARIO(children_inside),
    SCENARIO(no_descriptors),
    SCENARIO(memory_calls),
    SCENARIO(registers_survive),
    SCENARIO(own_dispatch),
};

RUN_SCENARIOS(all)
