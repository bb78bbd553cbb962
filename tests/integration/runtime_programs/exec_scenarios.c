/* execve(2) and its relatives: what is handed over, what is kept, what is refused. Run in an empty directory. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "scenarios.h"

extern char **environ;
static char self[4096];

static int ended(pid_t child) {
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    return status;
}

static void write_file(const char *name, const void *bytes, size_t size, mode_t mode) {
    int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    if (write(fd, bytes, size) != (ssize_t)size) abort();
    fchmod(fd, mode);
    close(fd);
}

/* In a child: exec and report the error, or let the program's own output and status tell. */
static void try_exec(const char *what, const char *path, char *const *words, char *const *environment) {
    pid_t child = fork();
    if (child == 0) {
        execve(path, words, environment);
        printf("%s: errno %d\n", what, errno);
        _exit(0);
    }
    int status = ended(child);
    printf("%s: exit %d signal %d\n", what, WEXITSTATUS(status), WTERMSIG(status));
}

/* The other end of most scenarios: this program, executed with the word "show". */
static void show(int words, char **word) {
    size_t bytes = 0, variables = 0;
    printf("argc %d\n", words);
    for (int i = 0; i < words && i < 12; i++) printf("  [%.40s] %zu\n", word[i], strlen(word[i]));
    for (int i = 0; i < words; i++) bytes += strlen(word[i]);
    for (char **v = environ; *v; v++, variables++)
        if (variables < 6) printf("  {%.40s} %zu\n", *v, strlen(*v));
    printf("argument bytes %zu variables %zu secure %lu page %lu\n", bytes, variables, getauxval(AT_SECURE), getauxval(AT_PAGESZ));
    printf("execfn %s ids %d\n", (char *)getauxval(AT_EXECFN) + (strncmp((char *)getauxval(AT_EXECFN), "./", 2) ? 0 : 2),
           getauxval(AT_UID) == getuid() && getauxval(AT_EGID) == getegid());
}

static void arguments(void) {
    char *odd[] = {"renamed", "", " ", "a b", "tab\there", "new\nline", "\xff\xfe", "--", "--report=/x", NULL};
    char *strange[] = {"A=1", "A=2", "EMPTY=", "novalue", "=x", "LONG=yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy", NULL};
    odd[0] = "show";
    try_exec("odd words", self, odd, strange);
    try_exec("no environment", self, odd, (char *[]){NULL});
    try_exec("one word", self, (char *[]){"show", NULL}, (char *[]){"X=1", NULL});
}

static void no_arguments(void) {
    try_exec("no words", "/bin/true", (char *[]){NULL}, (char *[]){"A=b", NULL});
    try_exec("no list", "/bin/true", NULL, NULL);
}

static void large_arguments(void) {
    static char *words[6002];
    char *big = malloc(120001), *environment[] = {"E=1", NULL};
    memset(big, 'b', 120000), big[120000] = 0;
    words[0] = "show";
    for (int i = 1; i < 6000; i++) words[i] = "some argument";
    try_exec("six thousand", self, words, environment);
    for (int i = 1; i < 9; i++) words[i] = big;
    words[9] = NULL;
    try_exec("a megabyte", self, words, environment);
    char *too_big = malloc(140001);
    memset(too_big, 'b', 140000), too_big[140000] = 0;
    try_exec("one too long", self, (char *[]){"show", too_big, NULL}, environment);
    for (int i = 1; i < 40; i++) words[i] = big;
    words[40] = NULL;
    try_exec("all too long", self, words, environment);
}

static void errors(void) {
    char *words[] = {"x", NULL}, *environment[] = {NULL};
    char long_name[5000];
    memset(long_name, 'n', sizeof long_name), long_name[4999] = 0;
    mkdir("directory", 0700);
    write_file("data", "data\n", 5, 0755);
    write_file("empty", "", 0, 0755);
    write_file("not-executable", "#!/bin/sh\n", 10, 0644);
    write_file("cut-elf", "\177ELF\2\1\1", 7, 0755);
    (void)!symlink("loop-b", "loop-a"), (void)!symlink("loop-a", "loop-b"), (void)!symlink("gone", "dangling");
    mkfifo("pipe", 0755);
    try_exec("missing", "missing", words, environment);
    try_exec("missing below", "missing/x", words, environment);
    try_exec("below a file", "data/x", words, environment);
    try_exec("directory", "directory", words, environment);
    try_exec("directory with slash", "directory/", words, environment);
    try_exec("data", "./data", words, environment);
    try_exec("empty", "empty", words, environment);
    try_exec("no permission", "not-executable", words, environment);
    try_exec("cut ELF", "cut-elf", words, environment);
    try_exec("loop", "loop-a", words, environment);
    try_exec("dangling", "dangling", words, environment);
    try_exec("pipe", "pipe", words, environment);
    try_exec("device", "/dev/null", words, environment);
    try_exec("empty name", "", words, environment);
    try_exec("long name", long_name, words, environment);
}

static void script(const char *name, const char *text) { write_file(name, text, strlen(text), 0755); }

static void scripts(void) {
    char *words[] = {"ignored", "one", "two words", NULL}, *environment[] = {"PATH=/bin:/usr/bin", NULL};
    script("plain", "#!/bin/sh\necho \"$0\" \"$#\" \"$1\" \"$2\"\n");
    script("argument", "#!/bin/sh -e\necho \"$-\" | tr -dc e; false; echo not reached\n");
    script("blanks", "#! \t /bin/sh   -e \t \necho blanks \"$#\"\n");
    script("several", "#!/bin/echo a  b   c \n");
    script("no-newline", "#!/bin/echo end");
    script("no-interpreter", "#!\n");
    script("only-blanks", "#!   \t\n");
    script("missing", "#!/nonexistent/sh\n");
    script("directory", "#!/tmp\n");
    script("itself", "#!itself\n");
    script("relative", "#!./plain inner\n");
    script("no-mark", "echo shell only\n");
    const char *names[] = {"./plain", "plain", "argument", "blanks", "several", "no-newline", "no-interpreter", "only-blanks", "missing", "directory", "itself", "relative", "no-mark"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) try_exec(names[i], names[i], words, environment);
}

static void long_script_lines(void) {
    char *words[] = {"x", NULL}, *environment[] = {NULL};
    for (int length = 250; length < 262; length++) {
        char name[16], text[400];
        memset(text, 0, sizeof text);
        strcpy(text, "#!/bin/echo ");
        memset(text + strlen(text), 'a', (size_t)length - strlen(text));
        strcat(text, "\n");
        snprintf(name, sizeof name, "argument%d", length);
        script(name, text);
        try_exec(name, name, words, environment);
        memset(text, 0, sizeof text);
        strcpy(text, "#!/");
        memset(text + 3, 'i', (size_t)length - 3);
        strcat(text, "\n");
        snprintf(name, sizeof name, "path%d", length);
        script(name, text);
        try_exec(name, name, words, environment);
    }
}

static void script_depth(void) {
    char *words[] = {"x", NULL}, *environment[] = {NULL}, text[64], name[16];
    script("depth0", "#!/bin/echo\n");
    for (int i = 1; i < 8; i++) {
        snprintf(text, sizeof text, "#!./depth%d\n", i - 1), snprintf(name, sizeof name, "depth%d", i);
        script(name, text);
        try_exec(name, name, words, environment);
    }
}

static void descriptors(void) {
    int kept = open("/dev/null", O_RDONLY), closed = open("/dev/null", O_RDONLY | O_CLOEXEC), high = fcntl(kept, F_DUPFD, 300);
    char command[200];
    snprintf(command, sizeof command, "for f in 0 1 2 %d %d %d; do [ -e /proc/self/fd/$f ] && echo open || echo closed; done; ls /proc/self/fd | wc -l", kept, closed, high);
    try_exec("descriptors", "/bin/sh", (char *[]){"sh", "-c", command, NULL}, (char *[]){"PATH=/bin:/usr/bin", NULL});
}

static void signals_are_inherited(void) {
    char *words[] = {"sh", "-c", "grep -E '^Sig(Ign|Cgt)' /proc/self/status", NULL}, *environment[] = {"PATH=/bin:/usr/bin", NULL};
    sigset_t set;
    signal(SIGUSR1, SIG_IGN), signal(SIGUSR2, exit);
    sigemptyset(&set), sigaddset(&set, SIGTERM), sigaddset(&set, SIGRTMIN + 2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGTERM);
    try_exec("grep", "/bin/grep", (char *[]){"grep", "-E", "^(SigBlk|SigIgn|SigPnd)", "/proc/self/status", NULL}, environment);
    pid_t child = fork();
    if (child == 0) { /* a pending signal survives execve */
        raise(SIGTERM);
        execve("/bin/grep", (char *[]){"grep", "-E", "^(SigBlk|SigPnd)", "/proc/self/status", NULL}, environment);
    }
    ended(child);
    (void)words;
}

static void other_forms(void) {
    char *words[] = {"show", "by descriptor", NULL}, *environment[] = {"F=1", NULL};
    int fd = open(self, O_RDONLY | O_CLOEXEC), directory = open("/bin", O_RDONLY | O_DIRECTORY);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        fexecve(fd, (char *[]){"true", NULL}, environment);
        printf("fexecve errno %d\n", errno);
        _exit(1);
    }
    printf("fexecve %d\n", ended(child) != 0);
    child = fork();
    if (child == 0) {
        syscall(SYS_execveat, directory, "echo", (char *[]){"echo", "by directory", NULL}, environment, 0);
        _exit(1);
    }
    printf("execveat %d\n", ended(child));
    child = fork();
    if (child == 0) {
        syscall(SYS_execveat, -100, "/bin/echo", (char *[]){"echo", "absolute", NULL}, environment, 0);
        _exit(1);
    }
    printf("execveat %d\n", ended(child));
    child = fork();
    if (child == 0) {
        syscall(SYS_execveat, 99, "echo", words, environment, 0);
        printf("bad directory %d\n", errno);
        syscall(SYS_execveat, 99, "", words, environment, AT_EMPTY_PATH);
        printf("bad descriptor %d\n", errno);
        syscall(SYS_execveat, directory, "nothing-here", words, environment, 0);
        printf("missing %d\n", errno);
        _exit(0);
    }
    ended(child);
    child = fork();
    if (child == 0) {
        execlp("echo", "echo", "through PATH", NULL);
        _exit(1);
    }
    printf("execlp %d\n", ended(child));
}

static void own_name(void) {
    char link[4096] = {0}, number[64];
    ssize_t size = readlink("/proc/self/exe", link, sizeof link - 1);
    printf("readlink %d same %d\n", size > 0, strcmp(link, self) == 0);
    snprintf(number, sizeof number, "/proc/%d/exe", getpid());
    memset(link, 0, sizeof link);
    size = readlink(number, link, sizeof link - 1);
    printf("by number %d same %d\n", size > 0, strcmp(link, self) == 0);
    memset(link, 'x', 10);
    printf("short buffer %zd %.4s\n", readlink("/proc/self/exe", link, 3), "");
    printf("no room %ld\n", result_of(syscall(SYS_readlink, "/proc/self/exe", link, 0)));
    try_exec("exec of itself", "/proc/self/exe", (char *[]){"show", "again", NULL}, (char *[]){"Y=1", NULL});
    char name[32] = {0};
    prctl(PR_GET_NAME, name);
    printf("comm %s\n", name);
}

/* The file behind /proc/self/exe is the program's, whoever opens it. */
static void own_file(void) {
    struct stat by_link, by_name;
    printf("stat %ld %ld", result_of(stat("/proc/self/exe", &by_link)), result_of(stat(self, &by_name)));
    printf(" same %d\n", by_link.st_ino == by_name.st_ino);
    int fd = open("/proc/self/exe", O_RDONLY);
    struct stat opened;
    printf("open %d same %d\n", fd >= 0, fstat(fd, &opened) == 0 && opened.st_ino == by_name.st_ino);
}

static void busy_text(void) {
    char buffer[1 << 16];
    int from = open("/bin/true", O_RDONLY), to = open("busy", O_CREAT | O_WRONLY, 0755);
    ssize_t n;
    while ((n = read(from, buffer, sizeof buffer)) > 0)
        if (write(to, buffer, (size_t)n) != n) abort();
    try_exec("open for writing", "./busy", (char *[]){"busy", NULL}, environ);
    close(to);
    try_exec("closed", "./busy", (char *[]){"busy", NULL}, environ);
}

static void kept_attributes(void) {
    struct rlimit limit = {100, 200};
    setrlimit(RLIMIT_NOFILE, &limit);
    umask(027);
    (void)!chdir("/usr");
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    nice(3);
    try_exec("sh", "/bin/sh", (char *[]){"sh", "-c", "ulimit -n; ulimit -Hn; umask; pwd; nice", NULL}, (char *[]){"PATH=/bin:/usr/bin", NULL});
}

static void chain(void) {
    char *words[] = {"sh", "-c", "exec sh -c 'exec sh -c \"exec echo four times\"'", NULL};
    try_exec("chain", "/bin/sh", words, (char *[]){"PATH=/bin:/usr/bin", NULL});
}

/* Two pages, the second of which cannot be read. */
static char *before_a_hole(void) {
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || mprotect(pages + 4096, 4096, PROT_NONE)) abort();
    return pages + 4096;
}

static void bad_pointers(void) {
    char *hole = before_a_hole(), *good[] = {"show", "word", NULL}, *nothing[] = {NULL};
    char *unterminated = hole - 4, *last = hole - 5, **open_list = (char **)hole - 2, **list_at_end = (char **)hole - 2;
    char **crossing = (char **)(hole - 4), *odd = (char *)0x8000000000000000, *negative = (char *)-4096L;
    memcpy(unterminated, "long", 4);
    try_exec("path", (char *)1, good, nothing);
    try_exec("no path", NULL, good, nothing);
    try_exec("list", self, (char **)hole, nothing);
    try_exec("list in the first page", self, (char **)8, nothing);
    try_exec("list nowhere", self, (char **)odd, nothing);
    try_exec("list across", self, crossing, nothing);
    try_exec("environment", self, good, (char **)hole);
    try_exec("environment negative", self, good, (char **)negative);
    try_exec("word", self, (char *[]){"show", hole, NULL}, nothing);
    try_exec("word in the first page", self, (char *[]){"show", (char *)1, NULL}, nothing);
    try_exec("word at the end of all", self, (char *[]){"show", (char *)-1L, NULL}, nothing);
    try_exec("word without end", self, (char *[]){"show", unterminated, NULL}, nothing);
    try_exec("variable", self, good, (char *[]){"A=1", hole, NULL});
    open_list[0] = "show", open_list[1] = "not the last";
    try_exec("list without end", self, open_list, nothing);
    list_at_end[0] = "show", list_at_end[1] = NULL;
    try_exec("list up to the end", self, list_at_end, list_at_end + 1);
    memcpy(last, "word", 5);
    try_exec("word up to the end", self, (char *[]){"show", last, NULL}, nothing);
    try_exec("no environment at all", self, good, NULL);
}

static void word_limits(void) {
    static char *words[3000];
    char *nothing[] = {NULL}, *exact = malloc(131073), *part = malloc(100001);
    memset(exact, 'x', 131072), exact[131072] = 0;
    memset(part, 'p', 100000), part[100000] = 0;
    try_exec("a word too long by one", self, (char *[]){"show", exact, NULL}, nothing);
    try_exec("a variable too long by one", self, (char *[]){"show", NULL}, (char *[]){exact, NULL});
    try_exec("the longest word", self, (char *[]){"show", exact + 1, NULL}, nothing);
    try_exec("the longest variable", self, (char *[]){"show", NULL}, (char *[]){exact + 1, NULL});
    setrlimit(RLIMIT_STACK, &(struct rlimit){1 << 20, RLIM_INFINITY}); /* a quarter of it: 256 KiB */
    try_exec("less than the limit", self, (char *[]){"show", part, part, NULL}, (char *[]){"A=1", NULL});
    try_exec("more than the limit", self, (char *[]){"show", part, part, part, NULL}, nothing);
    try_exec("more with variables", self, (char *[]){"show", part, NULL}, (char *[]){part, part, NULL});
    for (int i = 0; i < 2999; i++) words[i] = i ? "" : "show";
    try_exec("empty words", self, words, nothing);
    setrlimit(RLIMIT_STACK, &(struct rlimit){256 << 10, RLIM_INFINITY}); /* never less than 128 KiB */
    try_exec("less than the least", self, (char *[]){"show", part, NULL}, nothing);
    try_exec("more than the least", self, (char *[]){"show", part, part, NULL}, nothing);
}

static int open_descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < 1000; fd++) count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void failures_leave_nothing(void) {
    char *hole = before_a_hole(), *words[] = {"show", "x", NULL}, *nothing[] = {NULL};
    int before = open_descriptors();
    for (int i = 0; i < 50; i++) {
        execve("missing", words, nothing);
        execve(self, (char *[]){"show", hole, NULL}, nothing);
        execve(self, words, (char **)hole);
    }
    int error = errno;
    printf("errno %d descriptors %d\n", error, open_descriptors() - before);
    pid_t child = vfork();
    if (child == 0) {
        execve(self, (char *[]){"show", hole, NULL}, nothing);
        execve("missing", words, nothing);
        _exit(errno);
    }
    printf("vfork child %d descriptors %d\n", WEXITSTATUS(ended(child)), open_descriptors() - before);
}

static void vfork_and_spawn(void) {
    char *words[] = {"show", "by vfork", NULL}, *environment[] = {"V=1", "W=2", NULL};
    pid_t child = vfork();
    if (child == 0) {
        execve(self, words, environment);
        _exit(1);
    }
    printf("vfork %d\n", ended(child));
    words[1] = "by posix_spawn";
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addclose(&actions, 0);
    posix_spawn_file_actions_adddup2(&actions, 1, 9);
    int error = posix_spawn(&child, self, &actions, NULL, words, environment), status = ended(child);
    printf("posix_spawn %d %d\n", error, status);
    printf("missing %d\n", posix_spawn(&child, "missing", &actions, NULL, words, environment));
    error = posix_spawnp(&child, "echo", NULL, NULL, (char *[]){"echo", "found", NULL}, environment), status = ended(child);
    printf("searched %d %d\n", error, status);
}

/* A child in the parent's memory, on a stack as small as musl's posix_spawn has: what is below it must stay as it is. */
enum { SMALL_STACK = 16 << 10, BELOW = 4096 };
static char small_stack[BELOW + SMALL_STACK] __attribute__((aligned(4096)));

static int execute_on_small_stack(void *words) {
    char *environment[] = {"S=1", NULL};
    execve("missing", words, environment);
    execve(self, words, environment);
    return 1;
}

static void small_stacks(void) {
    char *words[] = {"show", "on a small stack", NULL};
    memset(small_stack, 0x5a, sizeof small_stack);
    pid_t child = clone(execute_on_small_stack, small_stack + sizeof small_stack, CLONE_VM | CLONE_VFORK | SIGCHLD, words);
    int status = ended(child), whole = 1;
    for (int i = 0; i < BELOW; i++) whole &= small_stack[i] == 0x5a;
    printf("small stack %d whole %d\n", status, whole);
}

static void *busy(void *unused) {
    for (;;) free(malloc(100000)), close(dup(2));
    return unused;
}

static void *execute_from_thread(void *words) {
    execve(self, words, (char *[]){"T=1", NULL});
    return NULL;
}

static void threads(void) {
    for (int round = 0; round < 5; round++) {
        pid_t child = fork();
        if (child == 0) {
            pthread_t thread;
            for (int i = 0; i < 3; i++) pthread_create(&thread, NULL, busy, NULL);
            pthread_create(&thread, NULL, execute_from_thread, (char *[]){"show", "by a thread", NULL});
            pthread_join(thread, NULL);
        }
        printf("thread %d\n", ended(child));
    }
}

static void standard_streams_closed(void) {
    pid_t child = fork();
    if (child == 0) {
        int out = fcntl(1, F_DUPFD, 50);
        char command[100];
        snprintf(command, sizeof command, "exec /bin/ls /proc/self/fd >&%d", out);
        close(0), close(1), close(2);
        execve("/bin/sh", (char *[]){"sh", "-c", command, NULL}, (char *[]){"PATH=/bin:/usr/bin", NULL});
    }
    printf("closed %d\n", ended(child));
}

static void scripts_by_descriptor(void) {
    script("file", "#!/bin/sh -u\necho \"$#\" \"$1\" \"$V\"\n");
    int fd = open("file", O_RDONLY);
    pid_t child = fork();
    if (child == 0) fexecve(fd, (char *[]){"renamed", "by descriptor", NULL}, (char *[]){"V=variable", NULL});
    printf("script %d\n", ended(child));
    int program = open(self, O_RDONLY | O_CLOEXEC);
    child = fork();
    if (child == 0) fexecve(program, (char *[]){"show", "program", "by descriptor", NULL}, (char *[]){"V=1", "W=", NULL});
    printf("program %d\n", ended(child) != 0);
    fflush(stdout);
}

/* A filter of the program's own that asks for a tracer: there is none for it, in the enclave neither. */
static void own_filter(void) {
    struct { /* struct sock_filter, sock_fprog: linux/filter.h, which musl has not */
        unsigned short code;
        unsigned char yes, no;
        unsigned value;
    } code[] = {
        {0x20, 0, 0, 0},               /* load the number */
        {0x15, 0, 1, SYS_getppid},     /* equal? */
        {0x06, 0, 0, 0x7ff00000 | 29457}, /* SECCOMP_RET_TRACE */
        {0x06, 0, 0, 0x7fff0000},      /* SECCOMP_RET_ALLOW */
    };
    struct {
        unsigned short length;
        void *code;
    } filter = {4, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    printf("filter %ld\n", result_of(prctl(PR_SET_SECCOMP, 2 /* SECCOMP_MODE_FILTER */, &filter)));
    printf("getppid %ld\n", result_of(syscall(SYS_getppid)));
    try_exec("under it", self, (char *[]){"show", "x", NULL}, (char *[]){NULL});
    printf("number of the key %ld %ld\n", result_of(syscall(29457)), result_of(syscall(29457, 1, 2, 3, 4, 5, 6)));
}

static const struct scenario all[] = {
    SCENARIO(arguments), SCENARIO(no_arguments), SCENARIO(large_arguments), SCENARIO(errors), SCENARIO(scripts), SCENARIO(long_script_lines),
    SCENARIO(script_depth), SCENARIO(descriptors), SCENARIO(signals_are_inherited), SCENARIO(other_forms), SCENARIO(own_name),
    SCENARIO(own_file), SCENARIO(busy_text), SCENARIO(kept_attributes), SCENARIO(chain),
    SCENARIO(bad_pointers), SCENARIO(word_limits), SCENARIO(failures_leave_nothing), SCENARIO(vfork_and_spawn), SCENARIO(small_stacks),
    SCENARIO(threads), SCENARIO(standard_streams_closed), SCENARIO(scripts_by_descriptor),
    SCENARIO(own_filter),
};

int main(int words, char **word) {
    if (words > 0 && strcmp(word[0], "show") == 0) {
        show(words, word);
        return 0;
    }
    if (words > 0 && strcmp(word[0], "true") == 0) return 0;
    if (!realpath(word[0], self)) return 3;
    return run_scenario(all, sizeof all / sizeof *all, words, word);
}
