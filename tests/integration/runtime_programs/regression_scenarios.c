/* What once went wrong: each scenario is the smallest program that showed it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "scenarios.h"

enum { KB = 1024, MB = 1024 * KB };

static char *memory(size_t size, int protection) {
    return mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static int file_with(const char *text) {
    int fd = memfd_create("file", 0);
    if (write(fd, text, strlen(text)) < 0) exit(3);
    return fd;
}

/* The runtime took a read-only mapping of a program file for a loader's, and showed a patched copy. */
static void program_file_as_data(void) {
    int fd = open("/proc/self/exe", O_RDONLY);
    char own[4096];
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
    own[n > 0 ? n : 0] = 0;
    close(fd);
    fd = open(own, O_RDONLY);
    struct stat info;
    fstat(fd, &info);
    char *mapped = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0), *copied = malloc((size_t)info.st_size);
    printf("read all: %d\n", read(fd, copied, (size_t)info.st_size) == info.st_size);
    printf("differs: %d\n", memcmp(mapped, copied, (size_t)info.st_size) != 0);
}

/* A private mapping made writable wrote into the file. */
static void private_mapping_made_writable(void) {
    char text[6] = "", link[40];
    int fd = file_with("hello");
    char *mapped = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, fd, 0); /* its second page is behind the end */
    printf("mprotect %d\n", mprotect(mapped, 8192, PROT_READ | PROT_WRITE));
    mapped[0] = 'J';
    printf("file %zd %s, memory %.5s\n", pread(fd, text, 5, 0), text, mapped);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    fd = open(link, O_RDONLY);
    mapped = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    printf("mprotect %d\n", mprotect(mapped, 4096, PROT_READ | PROT_WRITE));
    mapped[0] = 'K';
    printf("memory %.5s\n", mapped);
}

static int target(int value) { return value + 1; }

static void text_made_writable(void) {
    long page = (long)target & ~4095L;
    printf("mprotect %d\n", mprotect((void *)page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC));
    printf("still runs: %d\n", target(41));
}

static void bad_pointers(void) {
    unsigned long word = 0;
    printf("mask %ld\n", result_of(syscall(SYS_rt_sigprocmask, ~0, (void *)8, NULL, 8)));
    printf("mask %ld\n", result_of(syscall(SYS_rt_sigprocmask, ~0, &word, NULL, 8)));
    printf("old mask %ld\n", result_of(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &word, (void *)8, 8)));
    printf("action %ld\n", result_of(syscall(SYS_rt_sigaction, SIGUSR1, (void *)16, NULL, 8)));
    printf("readlink %ld\n", result_of(syscall(SYS_readlink, (void *)16, &word, 8)));
    printf("execve %ld\n", result_of(syscall(SYS_execve, (void *)16, NULL, NULL)));
    printf("ppoll %ld\n", result_of(syscall(SYS_ppoll, NULL, 0, &(struct timespec){0, 0}, (void *)16, 8)));
}

static size_t stack_mib(void) {
    pthread_attr_t attributes;
    void *low;
    size_t size;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &low, &size);
    return (size + MB / 2) / MB;
}

/* Memory mapped behind the stack joined its line in /proc/self/maps, from which libraries take its bounds. */
static void bounds_of_the_main_stack(void) {
    printf("%zu MiB\n", stack_mib());
    for (int i = 0; i < 40; i++) memory(MB, PROT_READ | PROT_WRITE);
    printf("%zu MiB\n", stack_mib());
}

static void *nothing(void *argument) { return argument; }

static void at_the_limit_of_open_files(void) {
    struct rlimit limit = {64, 4096};
    pthread_t thread;
    int got = 0, status = 0;
    setrlimit(RLIMIT_NOFILE, &limit);
    while (open("/dev/null", O_RDONLY) >= 0) continue;
    for (int i = 0; i < 40; i++) {
        char *block = malloc(MB);
        if (!block) continue;
        memset(block, 1, MB);
        got++;
    }
    printf("malloc %d, thread %d\n", got, pthread_create(&thread, NULL, nothing, NULL));
    if (fork() == 0) _exit(7);
    wait(&status);
    printf("fork %d\n", WEXITSTATUS(status));
}

static void splice_from_memory(void) {
    int ends[2];
    char *block = memory(8192, PROT_READ | PROT_WRITE), byte = 0;
    if (pipe(ends)) return;
    block[0] = 'z';
    struct iovec piece = {block, 8192};
    printf("vmsplice %zd\n", vmsplice(ends[1], &piece, 1, 0));
    if (read(ends[0], &byte, 1) == 1) printf("read %c\n", byte);
}

/* A set-up that Rust programs have: the handler of intercepted calls runs on this small stack. */
static void small_alternate_stack(void) {
    char *block = memory(3 * 4096, PROT_READ | PROT_WRITE);
    mprotect(block, 4096, PROT_NONE);
    stack_t stack = {.ss_sp = block + 4096, .ss_size = 8192};
    printf("sigaltstack %d\n", sigaltstack(&stack, NULL));
    if (fork() == 0) _exit(0);
    wait(NULL);
}

static void many_reservations(void) {
    char *huge = mmap(NULL, 1UL << 42, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    printf("reserved %d\n", huge != MAP_FAILED);
    printf("used %d\n", mprotect(huge + (1UL << 41), 4096, PROT_READ | PROT_WRITE));
    huge[1UL << 41] = 1;
}

/* mincore(2) calls every page resident to a user who does not own the inode. */
static void memory_after_giving_up_root(void) {
    char *block = memory(256 * MB, PROT_READ | PROT_WRITE);
    struct rusage before, after;
    block[0] = 1;
    printf("setuid %d\n", getuid() ? 0 : setuid(65534));
    getrusage(RUSAGE_SELF, &before);
    printf("discard %d, byte %d\n", madvise(block, 256 * MB, MADV_DONTNEED), block[0]);
    getrusage(RUSAGE_SELF, &after);
    printf("grew: %d\n", after.ru_minflt - before.ru_minflt > 1000);
}

static void discarding_across_slots(void) {
    char *block = memory(64 * MB, PROT_NONE), *last = block + 64 * MB - 4096;
    mprotect(last, 4096, PROT_READ | PROT_WRITE);
    last[0] = 5;
    mprotect(last, 4096, PROT_NONE);
    printf("discard %d\n", madvise(block, 64 * MB, MADV_DONTNEED));
    mprotect(last, 4096, PROT_READ | PROT_WRITE);
    printf("byte %d\n", last[0]);
}

/* The window took the copy for memory of its own that was not there yet, and mapped zeros over it. */
static void file_in_a_reservation(void) {
    char *room = memory(64 * MB, PROT_NONE), text[32];
    int fd = file_with("hello");
    room += 16 * MB - (uintptr_t)room % (16 * MB) + 4096;
    char *mapped = mmap(room, 4096, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0);
    printf("mprotect %d\n", mprotect(mapped, 4096, PROT_READ | PROT_WRITE));
    strcpy(mapped, "PARENT");
    mprotect(room + 4096, 4096, PROT_READ | PROT_WRITE);
    mprotect(mapped, 4096, PROT_READ);
    printf("%s\n", mapped);
    if (fork() == 0) {
        mprotect(mapped, 4096, PROT_READ | PROT_WRITE);
        strcpy(mapped, "CHILD");
        _exit(0);
    }
    wait(NULL);
    memcpy(text, mapped, 8);
    printf("%s\n", text);
}

static void shrinking_the_heap_over_protected_pages(void) {
    char *heap = sbrk(MB);
    uintptr_t page = ((uintptr_t)heap + 65536) & ~4095UL;
    memset(heap, 1, MB);
    printf("mprotect %d\n", mprotect((void *)page, 4096, PROT_NONE));
    printf("brk %d\n", brk(heap));
    printf("again %d, byte %d\n", sbrk(MB) == heap, *(char *)page);
}

static void mapping_a_bad_descriptor(void) {
    char *block = memory(4096, PROT_READ | PROT_WRITE);
    block[0] = 7;
    printf("mmap %ld\n", result_of((long)mmap(block, 4096, PROT_READ, MAP_PRIVATE | MAP_FIXED, 99, 0)));
    printf("byte %d\n", block[0]);
}

static uint32_t *never_written;
static volatile int waits_are_over;

static void *wake_again_and_again(void *unused) {
    while (!waits_are_over) syscall(SYS_futex, never_written, FUTEX_WAKE, 1, NULL, NULL, 0);
    return unused;
}

/* A wake between two looks at the word that stands for it was told as EAGAIN, which says that the program's own has changed. */
static void waits_on_a_shared_futex_that_is_woken(void) {
    const struct timespec soon = {0, 5000};
    long refused = 0;
    pthread_t thread;
    never_written = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_create(&thread, NULL, wake_again_and_again, NULL);
    for (int i = 0; i < 20000; i++) refused += syscall(SYS_futex, never_written, FUTEX_WAIT, 0, &soon, NULL, 0) < 0 && errno == EAGAIN;
    waits_are_over = 1;
    pthread_join(thread, NULL);
    printf("refused %ld\n", refused);
    printf("another value: %ld\n", result_of(syscall(SYS_futex, never_written, FUTEX_WAIT, 1, NULL, NULL, 0)));
}

/* Where the limit of locked memory cannot be lifted, forks failed, and so did everything that needs memory. */
static void memory_after_giving_up_capabilities(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0}};
    printf("capset %ld\n", result_of(syscall(SYS_capset, &header, none)));
    printf("bad pointers %ld", result_of(syscall(SYS_capset, &header, (void *)8)));
    printf(" %ld\n", result_of(syscall(SYS_capset, (void *)8, none)));
    header.version = 1;
    printf("bad version %ld\n", result_of(syscall(SYS_capset, &header, none)));
    fflush(stdout);
    char *big = memory(64 * MB, PROT_READ | PROT_WRITE);
    memset(big, 1, 64 * MB);
    munmap(big, 64 * MB);
    int status = 0;
    if (fork() == 0) execl("/bin/sh", "sh", "-c", "ls -d /; ls -d /", NULL);
    printf("waited %d, status %d\n", wait(&status) > 0, status);
}

static const struct scenario all[] = {
    SCENARIO(program_file_as_data), SCENARIO(private_mapping_made_writable), SCENARIO(text_made_writable),
    SCENARIO(bad_pointers), SCENARIO(bounds_of_the_main_stack), SCENARIO(at_the_limit_of_open_files),
    SCENARIO(splice_from_memory), SCENARIO(small_alternate_stack), SCENARIO(many_reservations),
    SCENARIO(memory_after_giving_up_root), SCENARIO(discarding_across_slots),
    SCENARIO(file_in_a_reservation), SCENARIO(shrinking_the_heap_over_protected_pages), SCENARIO(mapping_a_bad_descriptor),
    SCENARIO(waits_on_a_shared_futex_that_is_woken), SCENARIO(memory_after_giving_up_capabilities),
};

RUN_SCENARIOS(all)
