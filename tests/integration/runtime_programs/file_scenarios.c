/* One file that is only read, $FILE in directory $DIRECTORY: natively it lies there, in the enclave it is injected. 9,990 bytes:
 * 999 records of 10 bytes that say their number. What the file's owner or root might do to it is left out. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "scenarios.h"

enum { RECORD = 10, RECORDS = 999, SIZE = RECORD * RECORDS, PAGE_SIZE = 4096 };

static const char *path(void) { return getenv("FILE"); }

static int open_file(void) { return open(path(), O_RDONLY); }

static unsigned sum(const char *bytes, long size) {
    unsigned hash = 2166136261U;
    for (long i = 0; i < size; i++) hash = (hash ^ (unsigned char)bytes[i]) * 16777619U;
    return hash;
}

static void show(const char *what, const char *bytes, long n) {
    printf("%s %ld %08x\n", what, n == -1 ? -errno : n, n > 0 ? sum(bytes, n) : 0);
}

static void reads_of_all_sizes(void) {
    static const size_t sizes[] = {1, 7, 100, 4096, 5000, 1 << 20};
    static char buffer[1 << 20];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int fd = open_file();
        long total = 0, n;
        unsigned hash = 0;
        while ((n = read(fd, buffer, sizes[i])) > 0) total += n, hash = hash * 31 + sum(buffer, n);
        printf("%zu: %ld %08x, last %ld at %ld\n", sizes[i], total, hash, n, (long)lseek(fd, 0, SEEK_CUR));
        close(fd);
    }
}

static void reads_at_offsets(void) {
    static const long offsets[] = {0, 1, 4095, 4096, SIZE - 1, SIZE, SIZE + 1, 1L << 40, -1};
    char buffer[100];
    int fd = open_file();
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) show("pread", buffer, pread(fd, buffer, 100, offsets[i]));
    show("nothing", buffer, pread(fd, NULL, 0, 5));
    show("nowhere", buffer, pread(fd, NULL, 10, 5));
    printf("still at %ld\n", (long)lseek(fd, 0, SEEK_CUR));
}

static void vectors(void) {
    char a[5], b[3000], c[20000];
    struct iovec some[] = {{a, sizeof a}, {NULL, 0}, {b, sizeof b}, {c, sizeof c}}, *many = calloc(1025, sizeof *many);
    int fd = open_file();
    long n = readv(fd, some, 3);
    printf("readv %ld %08x %08x\n", n, sum(a, sizeof a), sum(b, sizeof b));
    n = preadv(fd, some, 4, 9);
    printf("preadv %ld %08x %08x %08x at %ld\n", n, sum(a, 5), sum(b, sizeof b), sum(c, n - 3005), (long)lseek(fd, 0, SEEK_CUR));
    n = preadv2(fd, some, 3, -1, 0);
    printf("preadv2 here %ld %08x at %ld\n", n, sum(b, sizeof b), (long)lseek(fd, 0, SEEK_CUR));
    n = preadv2(fd, some, 1, 70, 0);
    printf("preadv2 there %ld %08x at %ld\n", n, sum(a, sizeof a), (long)lseek(fd, 0, SEEK_CUR));
    printf("odd flags %ld\n", result_of(preadv2(fd, some, 1, 0, 1 << 30)));
    printf("too many %ld, no array %ld, none %ld, negative %ld\n", result_of(readv(fd, many, 1025)),
           result_of(readv(fd, NULL, 2)), result_of(readv(fd, some, 0)), result_of(preadv(fd, some, 1, -5)));
    some[0].iov_len = (size_t)-1;
    printf("too long %ld, at %ld\n", result_of(readv(fd, some, 1)), (long)lseek(fd, 0, SEEK_CUR));
}

static void seeking(void) {
    char buffer[20];
    int fd = open_file();
    printf("end %ld\n", (long)lseek(fd, 0, SEEK_END));
    show("at the end", buffer, read(fd, buffer, 20));
    printf("back %ld\n", (long)lseek(fd, -15, SEEK_END));
    show("last bytes", buffer, read(fd, buffer, 20));
    printf("beyond %ld\n", (long)lseek(fd, 100, SEEK_END));
    show("nothing there", buffer, read(fd, buffer, 20));
    printf("negative %ld\n", result_of(lseek(fd, -1, SEEK_SET)));
    printf("data %ld hole %ld\n", (long)lseek(fd, 0, SEEK_DATA), (long)lseek(fd, 0, SEEK_HOLE));
}

static void bad_buffers(void) {
    char *map = mmap(NULL, 4 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int fd = open_file();
    munmap(map + PAGE_SIZE, PAGE_SIZE);
    mprotect(map + 2 * PAGE_SIZE, PAGE_SIZE, PROT_READ);
    printf("hole %ld", result_of(read(fd, map + PAGE_SIZE, 100)));
    printf(" only read %ld", result_of(read(fd, map + 2 * PAGE_SIZE, 100)));
    printf(" high %ld at %ld\n", result_of(read(fd, (void *)(1UL << 60), 100)), (long)lseek(fd, 0, SEEK_CUR));
    struct iovec half[] = {{map, 300}, {map + PAGE_SIZE, 300}};
    long n = readv(fd, half, 2);
    printf("half %ld %08x at %ld\n", n, sum(map, 300), (long)lseek(fd, 0, SEEK_CUR));
    n = read(fd, map + PAGE_SIZE - 50, 100);
    printf("cut %d at the same %d\n", n >= 0 && n <= 50, lseek(fd, 0, SEEK_CUR) == 300 + n);
    printf("bad array %ld\n", result_of(readv(fd, (struct iovec *)(map + PAGE_SIZE), 1)));
}

static void duplicates(void) {
    char buffer[30];
    int fd = open_file(), two = dup(fd), three = dup2(fd, 30), four = dup3(fd, 31, O_CLOEXEC), five = fcntl(fd, F_DUPFD, 20);
    printf("%d %d, close on exec %d %d\n", three, four, fcntl(30, F_GETFD), fcntl(31, F_GETFD));
    int all[] = {fd, two, three, four, five};
    for (int i = 0; i < 5; i++) show("one offset", buffer, read(all[i], buffer, 30));
    close(fd);
    show("still open", buffer, read(30, buffer, 30));
    show("still open", buffer, pread(two, buffer, 30, 500));
    printf("itself %d, dup3 to itself %ld, bad %ld\n", dup2(30, 30), result_of(dup3(31, 31, 0)), result_of(dup2(30, -1)));
    close(30);
    printf("closed %ld\n", result_of(read(30, buffer, 30)));
    int other = dup2(open("/dev/zero", O_RDONLY), 30);
    printf("another file there %ld %d\n", (long)read(other, buffer, 30), buffer[0]);
}

static void standard_input(void) {
    char line[64];
    close(0);
    int fd = open_file();
    if (fd != 0) dup2(fd, 0);
    printf("%s", fgets(line, sizeof line, stdin));
    printf("%d\n", getchar());
    rewind(stdin);
    printf("%s", fgets(line, sizeof line, stdin));
}

static void streams(void) {
    FILE *file = fopen(path(), "r");
    int number = -1;
    char line[64];
    printf("%d %d\n", fscanf(file, "%d", &number), number);
    fseek(file, 5000, SEEK_SET);
    printf("%s %ld\n", fgets(line, sizeof line, file), ftell(file));
    long lines = 0;
    while (fgets(line, sizeof line, file)) lines++;
    printf("%ld lines, end %d error %d\n", lines, feof(file) != 0, ferror(file) != 0);
    FILE *again = fdopen(dup(fileno(file)), "rb");
    printf("%d\n", fseek(again, 0, SEEK_SET) || fgetc(again));
}

static void mapping_of(const char *what, int protection, int flags, long offset) {
    int fd = open_file();
    char *at = mmap(NULL, SIZE, protection, flags, fd, offset);
    close(fd);
    if (at == MAP_FAILED) {
        printf("%s: %d\n", what, -errno);
        return;
    }
    printf("%s: %08x, zeros behind %d\n", what, sum(at, SIZE - offset), at[SIZE - offset] == 0);
    if (protection & PROT_WRITE) at[5] = '!', printf("written %08x\n", sum(at, SIZE - offset));
    else printf("made writable %d\n", flags == MAP_PRIVATE ? mprotect(at, SIZE, PROT_READ | PROT_WRITE) || (at[5] = 1) != 1 : 0);
    printf("unmapped %d\n", munmap(at, SIZE));
}

static void mappings(void) {
    mapping_of("private", PROT_READ, MAP_PRIVATE, 0);
    mapping_of("private, second page", PROT_READ, MAP_PRIVATE, PAGE_SIZE);
    mapping_of("to be changed", PROT_READ | PROT_WRITE, MAP_PRIVATE, 0);
    mapping_of("shared", PROT_READ, MAP_SHARED, 0);
    mapping_of("shared and written", PROT_READ | PROT_WRITE, MAP_SHARED, 0);
    mapping_of("odd offset", PROT_READ, MAP_PRIVATE, 5);
    char *place = mmap(NULL, 8 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(place, 'x', 8 * PAGE_SIZE);
    int fd = open_file();
    for (int protection = PROT_READ; protection <= (PROT_READ | PROT_WRITE); protection += PROT_WRITE) {
        char *at = mmap(place + PAGE_SIZE, SIZE, protection, MAP_PRIVATE | MAP_FIXED, fd, 0);
        printf("fixed %d %08x %c%c\n", at == place + PAGE_SIZE, sum(at, SIZE), place[0], place[4 * PAGE_SIZE]);
    }
    char *shared = mmap(place + 4 * PAGE_SIZE, SIZE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
    printf("shared at a fixed place %d %08x\n", shared == place + 4 * PAGE_SIZE, sum(shared, SIZE));
}

/* Each reader adds up the numbers of the records it got; together they get each once, and whole. */
struct reader {
    int fd;
    long records, numbers, torn;
};

static void *read_records(void *arg) {
    struct reader *reader = arg;
    char record[RECORD + 1] = {0}, expected[RECORD + 1];
    while (read(reader->fd, record, RECORD) == RECORD) {
        long number = strtol(record, NULL, 10);
        snprintf(expected, sizeof expected, "%09ld\n", number);
        if (strcmp(record, expected) != 0) reader->torn++;
        reader->records++, reader->numbers += number;
    }
    return NULL;
}

static void read_in_threads(struct reader *all) {
    pthread_t thread[4];
    for (int i = 0; i < 4; i++) pthread_create(&thread[i], NULL, read_records, &all[i]);
    for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
}

static void readers_share_an_offset(int fd) {
    struct reader *all = mmap(NULL, 8 * sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), total = {0};
    for (int i = 0; i < 8; i++) all[i].fd = fd;
    pid_t child = fork();
    read_in_threads(all + (child ? 0 : 4));
    if (!child) _exit(0);
    waitpid(child, NULL, 0);
    for (int i = 0; i < 8; i++) total.records += all[i].records, total.numbers += all[i].numbers, total.torn += all[i].torn;
    printf("%ld records, %ld torn, numbers %ld", total.records, total.torn, total.numbers);
    printf(", at %ld\n", (long)lseek(fd, 0, SEEK_CUR));
}

static void many_readers_of_one(void) {
    int fd = open_file();
    for (int round = 0; round < 5; round++) lseek(fd, 0, SEEK_SET), readers_share_an_offset(fd);
    dup2(fd, 0);
    lseek(0, 0, SEEK_SET), readers_share_an_offset(0);
}

static void after_a_fork(void) {
    char buffer[40];
    int fd = open_file();
    for (int i = 0; i < 3; i++) {
        pid_t child = fork();
        if (!child) {
            int low = dup2(fd, 9);
            show("child", buffer, read(i ? fd : low, buffer, 40));
            int own = open_file();
            show("its own", buffer, read(own, buffer, 40));
            _exit(0);
        }
        waitpid(child, NULL, 0);
        show("parent", buffer, read(fd, buffer, 40));
    }
}

static void what_stat_says(void) {
    struct stat by_path, by_link, by_fd, by_empty;
    struct statx extended, of_fd;
    int fd = open_file();
    printf("%d %d\n", stat(path(), &by_path), lstat(path(), &by_link));
    printf("%d %d\n", fstat(fd, &by_fd), fstatat(fd, "", &by_empty, AT_EMPTY_PATH));
    printf("%d\n", statx(AT_FDCWD, path(), 0, STATX_BASIC_STATS, &extended));
    printf("%d\n", statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &of_fd));
    printf("%o size %ld links %ld regular %d user %d\n", by_path.st_mode & 0777, (long)by_path.st_size, (long)by_path.st_nlink,
           S_ISREG(by_path.st_mode), by_path.st_uid == geteuid());
    printf("%o size %ld links %ld\n", extended.stx_mode & 0777, (long)extended.stx_size, (long)extended.stx_nlink);
    printf("enough blocks %d\n", extended.stx_blocks * 512 >= SIZE && by_fd.st_blocks * 512 >= SIZE);
    printf("one file: %d %d %d", by_path.st_ino == by_fd.st_ino && by_path.st_dev == by_fd.st_dev,
           by_link.st_ino == by_fd.st_ino, by_empty.st_ino == by_fd.st_ino);
    printf(" %d %d\n", extended.stx_ino == by_fd.st_ino, of_fd.stx_ino == by_fd.st_ino);
    printf("at a low number: %d %d\n", dup2(fd, 9) == 9 && !fstat(9, &by_link) && by_link.st_ino == by_fd.st_ino,
           !syscall(SYS_fstat, 9, &by_empty) && by_empty.st_nlink == 1 && by_empty.st_mtime == by_fd.st_mtime);
    printf("one time: %d %d\n", by_path.st_mtime == by_fd.st_mtime, extended.stx_mtime.tv_sec == by_fd.st_mtime);
    printf("bad pointer %ld %ld, empty path %ld\n", result_of(syscall(SYS_newfstatat, AT_FDCWD, path(), 8, 0)),
           result_of(syscall(SYS_newfstatat, AT_FDCWD, 8, &by_fd, 0)), result_of(stat("", &by_fd)));
    printf("no link %ld\n", result_of(readlink(path(), (char *)&by_fd, sizeof by_fd)));
    printf("no directory %ld\n", result_of(open(path(), O_RDONLY | O_DIRECTORY)));
}

static void what_access_says(void) {
    printf("%ld %ld %ld\n", result_of(access(path(), F_OK)), result_of(access(path(), R_OK)), result_of(access(path(), 77)));
    printf("%ld %ld\n", result_of(faccessat(AT_FDCWD, path(), R_OK, AT_EACCESS)), result_of(access(path(), X_OK)));
}

static void flags(void) {
    static const int tried[] = {O_CLOEXEC, O_APPEND, O_NONBLOCK, O_NOFOLLOW, O_CREAT, O_CREAT | O_EXCL, O_NOCTTY};
    for (size_t i = 0; i < sizeof tried / sizeof *tried; i++) {
        int fd = open(path(), O_RDONLY | tried[i], 0600);
        if (fd < 0) printf("%o: %d\n", tried[i], -errno);
        else printf("%o: %o, close on exec %d\n", tried[i], fcntl(fd, F_GETFL) & ~(0100000 | O_NOFOLLOW), fcntl(fd, F_GETFD));
    }
    int fd = open_file();
    printf("write %ld, cut %ld\n", result_of(write(fd, "x", 1)), result_of(ftruncate(fd, 0)));
    printf("allocate %ld\n", result_of(fallocate(fd, 0, 0, 9)));
    printf("locks %ld\n", result_of(flock(fd, LOCK_EX)));
    printf("locks of ranges %ld %ld\n", result_of(fcntl(fd, F_SETLK, &(struct flock){.l_type = F_RDLCK})),
           result_of(fcntl(fd, F_SETLK, &(struct flock){.l_type = F_WRLCK})));
    printf("non-blocking %d %o\n", fcntl(fd, F_SETFL, O_NONBLOCK), fcntl(fd, F_GETFL) & O_NONBLOCK);
    printf("advice %d, ahead %ld\n", posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL), (long)readahead(fd, 0, 100));
    printf("sync %d\n", fsync(fd));
}

static void waiting(void) {
    int fd = open_file(), left = -1;
    struct pollfd one = {.fd = fd, .events = POLLIN};
    printf("poll %d %x\n", poll(&one, 1, 0), one.revents);
    printf("epoll %ld\n", result_of(epoll_ctl(epoll_create1(0), EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN})));
    lseek(fd, 40, SEEK_SET);
    printf("left %d %d\n", ioctl(fd, FIONREAD, &left), left);
}

static void other_names(void) {
    char name[512], buffer[25];
    const char *directory = getenv("DIRECTORY"), *base = strrchr(path(), '/') + 1;
    int at = open(directory, O_RDONLY | O_DIRECTORY);
    struct stat info;
    printf("%d %ld\n", fstatat(at, base, &info, 0), (long)info.st_size);
    show("relative to it", buffer, read(openat(at, base, O_RDONLY), buffer, 25));
    snprintf(name, sizeof name, "./..//%s/./%s", strrchr(directory, '/') + 1, base);
    if (chdir(directory)) return;
    show("working directory", buffer, read(open(base, O_RDONLY), buffer, 25));
    show("with dots", buffer, read(open(name, O_RDONLY), buffer, 25));
    printf("not there %ld\n", result_of(open("another", O_RDONLY)));
    printf("no path %ld, bad path %ld\n", result_of(open("", O_RDONLY)), result_of(open((char *)8, O_RDONLY)));
}

static void opened_again(void) {
    char name[64], buffer[25];
    struct stat one, other;
    int fd = open_file();
    lseek(fd, 100, SEEK_SET);
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, i == 0 ? "/proc/self/fd/%d" : i == 1 ? "/dev/fd/%d" : "/proc/%2$d/fd/%1$d", fd, getpid());
        int again = open(name, O_RDONLY);
        show("from the start", buffer, read(again, buffer, 25));
        printf("%d %d", fstat(again, &one), stat(name, &other));
        printf(" one file %d %d\n", one.st_ino == other.st_ino, one.st_size == other.st_size);
        close(again);
    }
    dup2(fd, 0);
    show("standard input", buffer, read(open("/dev/stdin", O_RDONLY), buffer, 25));
    show("the first goes on", buffer, read(0, buffer, 25));
    lstat("/proc/self/fd/0", &one);
    printf("a link there %d %d\n", S_ISLNK(one.st_mode), readlink("/proc/self/fd/0", name, sizeof name) > 0);
}

/* As cp(1) and others do it: the fast way, or else the ordinary one. */
static void copying(void) {
    char target[] = "/tmp/cloister-files-XXXXXX", buffer[SIZE];
    int fd = open_file(), to = mkstemp(target);
    long n = sendfile(to, fd, NULL, SIZE);
    if (n < 0 && errno == EINVAL) n = copy_file_range(fd, NULL, to, NULL, SIZE, 0);
    if (n < 0 && errno == EINVAL) n = read(fd, buffer, SIZE), n = write(to, buffer, n);
    memset(buffer, 0, SIZE);
    show("copied", buffer, pread(to, buffer, SIZE, 0));
    int ends[2];
    if (pipe(ends)) return;
    lseek(fd, 0, SEEK_SET);
    n = splice(fd, NULL, ends[1], NULL, 1000, 0);
    if (n < 0 && errno == EINVAL) n = read(fd, buffer, 1000), n = write(ends[1], buffer, n);
    show("piped", buffer, read(ends[0], buffer, 1000));
    unlink(target);
}

static void a_thousand_at_once(void) {
    static int fd[1000];
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 1200;
    printf("limit %d\n", setrlimit(RLIMIT_NOFILE, &limit));
    long right = 0;
    for (int i = 0; i < 1000; i++) fd[i] = open_file();
    for (int i = 0; i < 1000; i++) {
        char record[RECORD + 1] = {0};
        lseek(fd[i], i % RECORDS * RECORD, SEEK_SET);
        right += read(fd[i], record, RECORD) == RECORD && strtol(record, NULL, 10) == i % RECORDS;
    }
    printf("right %ld\n", right);
    for (int i = 0; i < 1000; i++) close(fd[i]);
    int low = dup(open("/dev/zero", O_RDONLY));
    printf("numbers are free again %d\n", low < 10);
}

static void few_descriptors(void) {
    char buffer[10];
    int fd = -1, last;
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){20, 20});
    while ((last = open_file()) >= 0) fd = last;
    printf("in the end %d\n", -errno);
    show("the last", buffer, read(fd, buffer, 10));
    close(fd), close(fd - 1);
    show("again", buffer, read(open_file(), buffer, 10));
}

static void pipes_still_wait(void) {
    char buffer[10];
    int ends[2], fd = open_file();
    dup2(fd, 0);
    if (pipe(ends)) return;
    pid_t child = fork();
    if (!child) {
        usleep(100000);
        _exit(write(ends[1], "late", 4) != 4);
    }
    show("pipe", buffer, read(ends[0], buffer, 10));
    show("file", buffer, read(0, buffer, 10));
    waitpid(child, NULL, 0);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    show("empty", buffer, read(ends[0], buffer, 10));
}

static volatile sig_atomic_t alarms;

static void on_alarm(int signal) {
    char buffer[10];
    int fd = open_file();
    alarms += signal == SIGALRM && read(fd, buffer, 10) == 10 && sum(buffer, 10) == sum("000000000\n", 10);
    close(fd);
}

/* Where all reads are seen, one that waits still ends or goes on as the signal's action says. */
static void signals_meet_reads(void) {
    char buffer[10];
    int ends[2], fd = open_file();
    dup2(fd, 0);
    if (pipe(ends)) return;
    for (int restart = 0; restart < 2; restart++) {
        struct sigaction action = {.sa_handler = on_alarm, .sa_flags = restart ? SA_RESTART : 0};
        sigaction(SIGALRM, &action, NULL);
        pid_t child = restart ? fork() : 0;
        if (restart && !child) {
            usleep(300000);
            _exit(write(ends[1], "late", 4) != 4);
        }
        setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {.tv_usec = 100000}}, NULL);
        show(restart ? "goes on" : "ends", buffer, read(ends[0], buffer, 10));
        if (child) waitpid(child, NULL, 0);
    }
    printf("alarms %d\n", (int)alarms);
    show("file", buffer, read(0, buffer, 10));
}

static void a_vfork_child_redirects(void) {
    char buffer[10], *words[] = {"cksum", NULL};
    extern char **environ;
    int status = -1, ends[2], fd = open_file();
    if (pipe(ends)) return;
    pid_t child = vfork();
    if (!child) {
        dup2(fd, 0);
        execvpe("cksum", words, environ);
        _exit(9);
    }
    waitpid(child, &status, 0);
    printf("status %d\n", status);
    show("not read here", buffer, read(fd, buffer, 10));
}

static void for_a_spawned_program(void) {
    extern char **environ;
    char *words[] = {"cksum", NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    int status = -1;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, path(), O_RDONLY, 0);
    int error = posix_spawnp(&child, "cksum", &actions, NULL, words, environ);
    waitpid(child, &status, 0);
    printf("spawn %d status %d\n", error, status);
    char buffer[10];
    show("here", buffer, read(open_file(), buffer, 10));
}

static const struct scenario all[] = {
    SCENARIO(reads_of_all_sizes), SCENARIO(reads_at_offsets), SCENARIO(vectors), SCENARIO(seeking), SCENARIO(bad_buffers),
    SCENARIO(duplicates), SCENARIO(standard_input), SCENARIO(streams), SCENARIO(mappings), SCENARIO(many_readers_of_one),
    SCENARIO(after_a_fork), SCENARIO(what_stat_says), SCENARIO(what_access_says), SCENARIO(flags), SCENARIO(waiting),
    SCENARIO(other_names), SCENARIO(opened_again), SCENARIO(copying), SCENARIO(a_thousand_at_once), SCENARIO(few_descriptors),
    SCENARIO(pipes_still_wait), SCENARIO(signals_meet_reads), SCENARIO(a_vfork_child_redirects), SCENARIO(for_a_spawned_program),
};

RUN_SCENARIOS(all)
