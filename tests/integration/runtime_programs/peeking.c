/* pread(2) of a file's blocks while other threads change them, the descriptor, the directory and the address space, and signals come,
 * whose handlers read too, or do not return.
 *
 * usage: peeking DIRECTORY MILLISECONDS: "right", or what was wrong
 * What must hold: a block has one number in all its words, whose upper half is its file's; bad buffers and descriptors are errors. A
 * disk's file system does not promise that a read sees all of a write or nothing; the shield does. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, WORDS = BLOCK / 8, BLOCKS = 64, READERS = 2 };

static int files[2], either, only_written;
static volatile sig_atomic_t stop;
static volatile unsigned long reads;
static __thread sigjmp_buf back;
static __thread volatile sig_atomic_t may_jump, in_handler;

static void wrong(const char *what, long value)
{
    printf("%s: %ld (%s)\n", what, value, strerror(errno));
    fflush(stdout);
    _exit(1);
}

static uint64_t draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static void write_block(int file, uint64_t number, long at)
{
    uint64_t block[WORDS];

    for (int i = 0; i < WORDS; i++)
        block[i] = (uint64_t)(file + 1) << 32 | (uint32_t)number;
    if (pwrite(files[file], block, BLOCK, at * BLOCK) != BLOCK)
        wrong("pwrite", errno);
}

/* `file` -1: of either. */
static void read_block(int fd, int file, long at)
{
    uint64_t block[WORDS];
    long n = pread(fd, block, BLOCK, at * BLOCK);

    if (n != BLOCK)
        wrong("pread", n);
    for (int i = 1; i < WORDS; i++)
        if (block[i] != block[0])
            wrong("a block of two states", i);
    if (file < 0 ? block[0] >> 32 != 1 && block[0] >> 32 != 2 : block[0] >> 32 != (uint64_t)file + 1)
        wrong("a block of another file", (long)(block[0] >> 32));
}

static void on_signal(int signal)
{
    static volatile unsigned count;

    if (in_handler)
        return;
    in_handler = 1;
    read_block(files[signal & 1], signal & 1, count % BLOCKS);
    in_handler = 0;
    if (may_jump && ++count % 3 == 0)
        siglongjmp(back, 1);
}

static void *reader(void *seed)
{
    uint64_t state = (uint64_t)(uintptr_t)seed * 77 + 1;

    sigsetjmp(back, 1);
    may_jump = 1;
    while (!stop) {
        int file = (int)(draw(&state) % 3);
        long at = (long)(draw(&state) % BLOCKS);
        if (file == 2)
            read_block(either, -1, at);
        else
            read_block(files[file], file, at);
        reads++;
    }
    may_jump = 0;
    return NULL;
}

static void *writer(void *nothing)
{
    uint64_t state = 5;

    for (uint64_t i = 0; !stop; i++) {
        write_block((int)(draw(&state) % 2), i, (long)(draw(&state) % BLOCKS));
        usleep(50);
    }
    return nothing;
}

static void *disturber(void *directory)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/other", (const char *)directory);
    for (unsigned i = 0; !stop; i++) {
        void *memory = mmap(NULL, (i % 7 + 1) * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

        if (memory == MAP_FAILED || fd < 0 || pwrite(fd, "other", 5, i * 9000) != 5)
            wrong("a disturbance", errno);
        if (dup2(files[i % 2], either) != either)
            wrong("dup2", errno);
        munmap(memory, (i % 7 + 1) * BLOCK);
        close(fd);
        if (i % 16 == 0)
            unlink(path);
        usleep(200);
    }
    return NULL;
}

static void expect(const char *what, long n, long wanted)
{
    if (n != (wanted < 0 ? -1 : wanted) || (wanted < 0 && errno != -wanted))
        wrong(what, n);
}

/* Again and again, for not every call goes the same way. */
static void ask_wrongly(void)
{
    uint64_t block[WORDS];
    char *page = mmap(NULL, 3 * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    mprotect(page + BLOCK, BLOCK, PROT_READ);
    munmap(page + 2 * BLOCK, BLOCK);
    for (int i = 0; i < 200; i++) {
        expect("nowhere", pread(files[0], (char *)NULL + i * BLOCK % 8192, BLOCK, 0), -EFAULT);
        expect("read-only memory", pread(files[0], page + BLOCK, BLOCK, 0), -EFAULT);
        expect("beyond memory", pread(files[0], page + BLOCK + 1, BLOCK, 0), -EFAULT);
        expect("the runtime's memory", pread(files[0], (void *)0x6f0000000000, BLOCK, 0), -EFAULT);
        expect("a negative place", pread(files[0], block, BLOCK, -BLOCK), -EINVAL);
        expect("write-only", pread(only_written, block, BLOCK, 0), -EBADF);
        expect("the end", pread(files[0], block, BLOCK, BLOCKS * BLOCK), 0);
        expect("nothing", pread(files[0], block, 0, 0), 0);
        expect("a part", pread(files[0], block, BLOCK, BLOCKS * BLOCK - 100), 100);
        expect("closed", pread(700, block, BLOCK, 0), -EBADF);
    }
}

static int opened(const char *directory, const char *name, int flags)
{
    char path[4096];
    int fd;

    snprintf(path, sizeof path, "%s/%s", directory, name);
    fd = open(path, flags | O_CREAT, 0600);
    if (fd < 0)
        wrong(path, errno);
    return fd;
}

static void alarms(long microseconds)
{
    const struct itimerval every = {{0, microseconds}, {0, microseconds}};

    signal(SIGALRM, on_signal);
    setitimer(ITIMER_REAL, &every, NULL);
}

int main(int count, char **words)
{
    pthread_t thread[READERS + 2];

    if (count != 3)
        return 2;
    files[0] = opened(words[1], "one", O_RDWR);
    files[1] = opened(words[1], "two", O_RDWR);
    only_written = opened(words[1], "two", O_WRONLY);
    either = dup(files[0]);
    for (int i = 0; i < 2 * BLOCKS; i++)
        write_block(i & 1, 0, i / 2);
    ask_wrongly();
    for (long i = 0; i < READERS; i++)
        pthread_create(&thread[i], NULL, reader, (void *)i);
    pthread_create(&thread[READERS], NULL, writer, NULL);
    pthread_create(&thread[READERS + 1], NULL, disturber, words[1]);
    alarms(700);
    for (struct timespec rest = {.tv_nsec = 1000000}; !stop;) { /* the alarms end sleep(3) */
        static long slept;

        nanosleep(&rest, NULL);
        stop = ++slept >= atol(words[2]);
    }
    alarms(0);
    for (int i = 0; i < READERS + 2; i++)
        pthread_join(thread[i], NULL);
    printf(reads > 1000 ? "right\n" : "few reads: %lu\n", reads);
    return 0;
}
