/* One thread asks for memory that needs a descriptor for a moment, another puts a file of its own on the number that is likely
 * next, by dup2(2), dup3(2) or close_range(2) and dup2(2) in turn.
 *
 * usage: descriptor_numbers FILE SECONDS [close]     with a third word it only closes the number
 *
 * Says "ok", or what went wrong and how often: the file was cut off or its mode changed, it stood in memory, its descriptor was
 * closed or was another file's, memory was refused.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, MODE = 0640 };

static const char content[] = "the program's own file";
static int file, next;
static ino_t inode;
static volatile int done;
static long refused, foreign, changed, lost;

static void *ask_for_memory(void *unused) {
    while (!done) {
        char *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED) {
            refused++;
            continue;
        }
        if (*at) foreign++;
        *at = 'x';
        munmap(at, PAGE);
    }
    return unused;
}

static void check_file(void) {
    struct stat info;
    char found[sizeof content] = "";
    fstat(file, &info);
    if (info.st_size != sizeof content || (info.st_mode & 07777) != MODE || pread(file, found, sizeof found, 0) != sizeof found ||
        memcmp(found, content, sizeof content)) {
        changed++;
        ftruncate(file, sizeof content);
        fchmod(file, MODE);
        pwrite(file, content, sizeof content, 0);
    }
}

static void put_file(int turn) {
    struct stat info;
    int fd = turn % 3 == 1 ? dup3(file, next, O_CLOEXEC) : dup2(file, next);
    if (fd != next || fstat(fd, &info) || info.st_ino != inode) lost++;
    check_file();
    if (turn % 3 == 2) {
        if (syscall(436 /* close_range */, next, next, 0)) lost++;
    } else if (close(fd)) lost++;
}

int main(int count, char **word) {
    pthread_t thread;
    struct stat info;
    if (count < 3 || (file = open(word[1], O_RDWR | O_CREAT | O_TRUNC, MODE)) < 0) return 2;
    fchmod(file, MODE);
    if (write(file, content, sizeof content) != sizeof content || fstat(file, &info)) return 2;
    inode = info.st_ino;
    next = dup(file);
    close(next);
    pthread_create(&thread, NULL, ask_for_memory, NULL);
    time_t end = time(NULL) + atoi(word[2]);
    for (int turn = 0; time(NULL) < end; turn++)
        if (count > 3) close(next);
        else put_file(turn);
    done = 1;
    pthread_join(thread, NULL);
    check_file();
    if (!refused && !foreign && !changed && !lost) puts("ok");
    else printf("refused %ld foreign %ld changed %ld lost %ld\n", refused, foreign, changed, lost);
    return 0;
}
