/* Processes that change one directory at once, are killed at any moment, and must leave what they share whole.
 *
 * usage: hammer DIRECTORY fork|exec ROUNDS SEED: starts workers, kills each after a moment, looks at everything between
 *        hammer DIRECTORY worker SEED: changes things until it is killed
 *        hammer DIRECTORY look: says whether all is right
 * What must hold: a record of `records` is zeros or has its own number and sum; `count` holds a number that never gets smaller;
 * every file in `names` has its own name in it; a directory that is there can be listed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RECORDS = 2000, NAMES = 40 };

struct record {
    uint64_t number, seed, filler[5], sum;
};

static const char *self;

static uint64_t draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static uint64_t sum_of(const struct record *record)
{
    const uint64_t *word = (const uint64_t *)record;
    uint64_t sum = 14695981039346656037UL;
    for (size_t i = 0; i < sizeof *record / 8 - 1; i++)
        sum = (sum ^ word[i]) * 1099511628211UL;
    return sum;
}

static void fail(const char *what)
{
    printf("%s: %s\n", what, strerror(errno));
    fflush(stdout);
    _exit(1);
}

/* What was lost may be gone, with who had it open told ESTALE or EIO; nothing else may go wrong. */
static int gone(long result)
{
    return result < 0 && (errno == ENOENT || errno == ESTALE || errno == EIO || errno == EEXIST || errno == ENOTEMPTY);
}

static void require(long result, const char *what)
{
    if (result < 0 && !gone(result))
        fail(what);
}

static void write_record(uint64_t *state)
{
    struct record record = {.number = draw(state) % RECORDS, .seed = *state};
    int fd = open("records", O_RDWR);
    require(fd, "open records");
    if (fd < 0)
        return;
    for (int i = 0; i < 5; i++)
        record.filler[i] = draw(state);
    record.sum = sum_of(&record);
    require(pwrite(fd, &record, sizeof record, (off_t)(record.number * sizeof record)), "write a record");
    if (draw(state) % 20 == 0)
        require(fsync(fd), "fsync");
    close(fd);
}

static void make_name(uint64_t *state)
{
    char name[40], temporary[60];
    snprintf(name, sizeof name, "names/%lu", draw(state) % NAMES);
    snprintf(temporary, sizeof temporary, "%s.%d", name, getpid());
    int fd = open(temporary, O_CREAT | O_RDWR | O_TRUNC, 0644);
    require(fd, "make a file");
    if (fd < 0)
        return;
    require(write(fd, name, strlen(name)), "write a name");
    close(fd);
    if (draw(state) % 3)
        require(rename(temporary, name), "rename");
    else
        require(unlink(temporary), "unlink");
    if (draw(state) % 4 == 0)
        require(unlink(name), "unlink");
}

static void make_directory(uint64_t *state)
{
    char name[40], below[60];
    snprintf(name, sizeof name, "d%lu", draw(state) % 5);
    snprintf(below, sizeof below, "%s/x", name);
    require(mkdir(name, 0755), "mkdir");
    int fd = open(below, O_CREAT | O_WRONLY, 0600);
    require(fd, "make below");
    if (fd >= 0)
        close(fd);
    require(unlink(below), "unlink below");
    require(rmdir(name), "rmdir");
}

static void work(uint64_t seed)
{
    uint64_t state = seed * 2654435761UL + 1;
    for (;;) {
        unsigned what = draw(&state) % 10;
        if (what < 6)
            write_record(&state);
        else if (what < 9)
            make_name(&state);
        else
            make_directory(&state);
    }
}

static void look_at_records(void)
{
    static const struct record nothing;
    static struct record all[RECORDS];
    int fd = open("records", O_RDONLY);
    if (fd < 0)
        fail("open records");
    ssize_t n = read(fd, all, sizeof all);
    if (n < 0)
        fail("read records");
    for (size_t i = 0; i < (size_t)n / sizeof *all; i++) {
        if (!memcmp(&all[i], &nothing, sizeof nothing))
            continue;
        if (all[i].number != i || all[i].sum != sum_of(&all[i])) {
            printf("record %zu is torn\n", i);
            fflush(stdout);
            _exit(1);
        }
    }
    close(fd);
}

static void look_at_names(void)
{
    DIR *directory = opendir("names");
    struct dirent *entry;
    if (!directory)
        fail("opendir");
    while ((entry = readdir(directory))) {
        char path[300], right[300], text[100] = "";
        if (entry->d_name[0] == '.' || strchr(entry->d_name, '.'))
            continue;
        snprintf(path, sizeof path, "names/%s", entry->d_name);
        snprintf(right, sizeof right, "%s", path);
        int fd = open(path, O_RDONLY);
        if (fd < 0 && errno == ENOENT)
            continue; /* removed meanwhile */
        if (fd < 0)
            fail("open a name");
        ssize_t n = read(fd, text, sizeof text - 1);
        if (n < 0 && errno != ESTALE && errno != EIO)
            fail("read a name");
        if (n >= 0 && strcmp(text, right)) {
            printf("%s has in it: %s\n", path, text);
            fflush(stdout);
            _exit(1);
        }
        close(fd);
    }
    closedir(directory);
}

static void look(void)
{
    look_at_records();
    look_at_names();
}

static pid_t start(const char *how, uint64_t seed)
{
    char number[30];
    snprintf(number, sizeof number, "%lu", seed);
    fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child)
        return child;
    if (!strcmp(how, "exec"))
        execl(self, self, ".", "worker", number, NULL);
    else
        work(seed);
    _exit(1);
}

static void hammer(const char *how, int rounds, uint64_t seed)
{
    uint64_t state = seed + 1;
    mkdir("names", 0755);
    close(open("records", O_CREAT | O_RDWR, 0644));
    for (int round = 0; round < rounds; round++) {
        pid_t child[3];
        for (int i = 0; i < 3; i++)
            child[i] = start(how, draw(&state));
        struct timespec moment = {0, (long)(draw(&state) % 20000000)};
        if (!strcmp(how, "exec"))
            moment.tv_nsec += 30000000;
        nanosleep(&moment, NULL);
        look();
        for (int i = 0; i < 3; i++) {
            int status;
            kill(child[i], SIGKILL);
            waitpid(child[i], &status, 0);
            if (!WIFSIGNALED(status)) {
                printf("worker %d ended by itself: %x\n", i, status);
                exit(1);
            }
            look();
        }
    }
    printf("right\n");
}

int main(int argc, char **argv)
{
    self = argv[0];
    if (argc < 3 || chdir(argv[1]))
        fail(argv[1]);
    if (!strcmp(argv[2], "worker"))
        work(strtoul(argv[3], NULL, 10));
    else if (!strcmp(argv[2], "look"))
        look();
    else
        hammer(argv[2], atoi(argv[3]), strtoul(argv[4], NULL, 10));
    return 0;
}
