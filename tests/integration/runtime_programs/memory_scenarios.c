/* Memory calls whose point is one case, not a walk: advice, code, files, errors, limits. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "scenarios.h"

enum { PAGE = 4096, RW = PROT_READ | PROT_WRITE, ANONYMOUS = MAP_PRIVATE | MAP_ANONYMOUS };
enum { GUARD_INSTALL = 102, DONTNEED_LOCKED = 24 }; /* asm-generic/mman-common.h of Linux 6.13 and 5.18 */

static sigjmp_buf away;
static void jump(int number) { siglongjmp(away, number); }

/* 0 if the address can be written, else the signal. */
static int touch(volatile char *at) {
    int number = sigsetjmp(away, 1);
    if (number == 0) *at = 1;
    return number;
}

static void catch_faults(void) {
    signal(SIGSEGV, jump);
    signal(SIGBUS, jump);
}

static const char *mapped(void *at) { return at == MAP_FAILED ? strerror(errno) : "ok"; }

static void decommit(void) {
    size_t size = 64 << 20;
    char *p = mmap(NULL, size, PROT_NONE, ANONYMOUS, -1, 0);
    for (size_t at = 0; at < size; at += 5 << 20) {
        mprotect(p + at, PAGE, RW);
        p[at] = 7;
        mprotect(p + at, PAGE, PROT_NONE);
    }
    printf("discard %ld\n", result_of(madvise(p, size, MADV_DONTNEED)));
    for (size_t at = 0; at < size; at += 5 << 20) {
        mprotect(p + at, PAGE, RW);
        if (p[at]) printf("old byte at %zu\n", at);
    }
}

static void advice(void) {
    char *p = mmap(NULL, 4 * PAGE, RW, ANONYMOUS, -1, 0);
    memset(p, 'a', 4 * PAGE);
    const int refused[] = {-1, 5, 7, 26, 99, 105, 200, 9999};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        printf("advice %d: %ld\n", refused[i], result_of(madvise(p, PAGE, refused[i])));
    printf("locked %ld: %d\n", result_of(madvise(p, PAGE, DONTNEED_LOCKED)), p[0]);
    printf("kept %c\n", p[PAGE]);
    printf("empty %ld odd %ld beyond %ld\n", result_of(madvise(p, 0, MADV_DONTNEED)), result_of(madvise(p + 1, PAGE, MADV_DONTNEED)),
           result_of(madvise(p, ~0UL, MADV_DONTNEED)));
}

/* Whoever is told that a guard page is there must have one. */
static void guard_pages(void) {
    catch_faults();
    char *p = mmap(NULL, 3 * PAGE, RW, ANONYMOUS, -1, 0);
    memset(p, 'g', 3 * PAGE);
    int installed = madvise(p + PAGE, PAGE, GUARD_INSTALL) == 0, fault = touch(p + PAGE);
    printf("a promise is kept: %d\n", !installed || fault == SIGSEGV);
    printf("neighbours %d %d\n", touch(p), touch(p + 2 * PAGE));
}

static void code(void) {
    static const unsigned char answer[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov $42, %eax; ret */
    int (*run)(void);
    unsigned char *p = mmap(NULL, 3 * PAGE, RW, ANONYMOUS, -1, 0);
    memset(p, 'x', 3 * PAGE);
    memcpy(p + PAGE, answer, sizeof answer);
    printf("executable %ld\n", result_of(mprotect(p + PAGE, PAGE, PROT_READ | PROT_EXEC)));
    memcpy(&run, &(unsigned char *){p + PAGE}, sizeof run);
    printf("answer %d neighbours %c %c\n", run(), p[0], p[2 * PAGE]);
    printf("writable %ld\n", result_of(mprotect(p + PAGE, PAGE, RW)));
    p[PAGE + 1] = 43;
    mprotect(p + PAGE, PAGE, PROT_READ | PROT_EXEC);
    printf("answer %d\n", run());
    pid_t child = fork();
    if (child == 0) {
        mprotect(p + PAGE, PAGE, RW | PROT_EXEC);
        p[PAGE + 1] = 44;
        _exit(run());
    }
    int status;
    waitpid(child, &status, 0);
    printf("child %d parent %d\n", WEXITSTATUS(status), run());
    unsigned char *all = mmap(NULL, PAGE, RW | PROT_EXEC, ANONYMOUS, -1, 0);
    memcpy(all, answer, sizeof answer);
    memcpy(&run, &all, sizeof run);
    printf("answer %d\n", run());
    munmap(p, 3 * PAGE), munmap(all, PAGE);
}

static void places(void) {
    char *p = mmap(NULL, 8 * PAGE, RW, ANONYMOUS, -1, 0);
    memset(p, 'p', 8 * PAGE);
    printf("not over it: %s\n", mapped(mmap(p + PAGE, PAGE, RW, ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0)));
    munmap(p + 2 * PAGE, 2 * PAGE);
    char *hole = mmap(p + 2 * PAGE, 2 * PAGE, RW, ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    printf("into the hole: %d zero %d\n", hole == p + 2 * PAGE, hole[0] == 0 && hole[2 * PAGE - 1] == 0);
    char *low = mmap(NULL, PAGE, RW, ANONYMOUS | MAP_32BIT, -1, 0);
    printf("low %d\n", (uintptr_t)low < 1UL << 31 && touch(low) == 0);
    char *chosen = mmap((void *)0x200000000, PAGE, RW, ANONYMOUS | MAP_FIXED, -1, 0);
    printf("chosen %d\n", chosen == (char *)0x200000000);
    *chosen = 'c';
    pid_t child = fork();
    if (child == 0) _exit(*chosen);
    int status;
    waitpid(child, &status, 0);
    printf("child sees %c\n", WEXITSTATUS(status));
    printf("page zero %s\n", mmap(NULL, PAGE, RW, ANONYMOUS | MAP_FIXED, -1, 0) == NULL ? "ok" : "refused");
    printf("kernel's half: %s\n", mapped(mmap((void *)0xffff800000000000, PAGE, RW, ANONYMOUS | MAP_FIXED, -1, 0)));
    printf("too long: %s\n", mapped(mmap(NULL, 1UL << 50, RW, ANONYMOUS, -1, 0)));
    printf("all of it: %s\n", mapped(mmap(NULL, ~0UL, RW, ANONYMOUS, -1, 0)));
}

static void reservations(void) {
    catch_faults();
    size_t size = 64UL << 30;
    char *p = mmap(NULL, size, PROT_NONE, ANONYMOUS | MAP_NORESERVE, -1, 0);
    printf("reserve %d\n", p != MAP_FAILED);
    for (int i = 0; i < 8; i++) printf("commit %ld touch %d\n", result_of(mprotect(p + (size_t)i * (size / 8), PAGE, RW)), touch(p + (size_t)i * (size / 8)));
    printf("not committed %d\n", touch(p + PAGE));
    printf("give back %ld\n", result_of(munmap(p, size)));
    printf("gone %d\n", touch(p));
}

static void file_errors(void) {
    char name[] = "/tmp/cloister-file-XXXXXX";
    int file = mkstemp(name), write_only = open(name, O_WRONLY), read_only = open(name, O_RDONLY), directory = open("/tmp", O_RDONLY), ends[2];
    unlink(name);
    if (ftruncate(file, 100) || pipe(ends)) return;
    const int protections[] = {PROT_READ, RW};
    for (int shared = 0; shared < 2; shared++)
        for (int i = 0; i < 2; i++) {
            int flags = shared ? MAP_SHARED : MAP_PRIVATE, protection = protections[i];
            printf("shared %d protection %d\n", shared, protection);
            printf(" file %s\n", mapped(mmap(NULL, PAGE, protection, flags, file, 0)));
            printf(" read only %s\n", mapped(mmap(NULL, PAGE, protection, flags, read_only, 0)));
            printf(" write only %s\n", mapped(mmap(NULL, PAGE, protection, flags, write_only, 0)));
            printf(" directory %s\n", mapped(mmap(NULL, PAGE, protection, flags, directory, 0)));
            printf(" pipe %s\n", mapped(mmap(NULL, PAGE, protection, flags, ends[0], 0)));
            printf(" closed %s\n", mapped(mmap(NULL, PAGE, protection, flags, 999, 0)));
            printf(" odd offset %s\n", mapped((void *)syscall(SYS_mmap, NULL, PAGE, protection, flags, file, 100)));
            printf(" null device %s\n", mapped(mmap(NULL, PAGE, protection, flags, open("/dev/null", O_RDWR), 0)));
        }
}

static void files(void) {
    char name[] = "/tmp/cloister-file-XXXXXX", byte = 0;
    int file = mkstemp(name);
    unlink(name);
    if (ftruncate(file, 3 * PAGE) || pwrite(file, "one", 3, 0) != 3 || pwrite(file, "two", 3, PAGE) != 3) return;
    char *shared = mmap(NULL, 3 * PAGE, RW, MAP_SHARED, file, 0), *private = mmap(NULL, 3 * PAGE, RW, MAP_PRIVATE, file, 0);
    char *second = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, PAGE), *reading = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 0);
    printf("%s %s %s %s %s\n", shared, shared + PAGE, private + PAGE, second, reading);
    strcpy(shared + PAGE, "new");
    strcpy(private, "own");
    printf("msync %ld\n", result_of(msync(shared, 3 * PAGE, MS_SYNC)));
    char text[4] = {0};
    if (pread(file, text, 3, PAGE) != 3) return;
    printf("file %s second %s private %s shared %s\n", text, second, private, shared);
    printf("read-only stays so %ld\n", result_of(mprotect(second, PAGE, PROT_READ)));
    printf("becomes writable %ld\n", result_of(mprotect(reading, PAGE, RW)));
    strcpy(reading, "mine");
    if (pread(file, &byte, 1, 0) != 1) return;
    printf("file still %c\n", byte);
    char *zero = mmap(NULL, PAGE, RW, MAP_PRIVATE, open("/dev/zero", O_RDWR), 0);
    printf("zero device %d %d\n", zero != MAP_FAILED, zero[0]);
    printf("moved %s\n", (char *)mremap(shared, 3 * PAGE, 5 * PAGE, MREMAP_MAYMOVE));
}

/* System calls read and write every kind of memory as the program does. */
static void kernel_access(void) {
    int ends[2];
    char *maps[3] = {malloc(PAGE), mmap(NULL, PAGE, RW, ANONYMOUS, -1, 0), mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0)};
    if (pipe(ends)) return;
    for (int i = 0; i < 3; i++) {
        struct iovec two[2] = {{maps[i], 100}, {maps[i] + 1000, 100}};
        memset(maps[i], 'k', 100), memset(maps[i] + 1000, 'l', 100);
        ssize_t written = writev(ends[1], two, 2);
        memset(maps[i], 0, PAGE);
        ssize_t back = readv(ends[0], two, 2);
        printf("%zd %zd %c %c\n", written, back, maps[i][99], maps[i][1099]);
        struct stat info;
        printf("stat %ld\n", result_of(stat("/", (struct stat *)maps[i])));
        (void)info;
    }
    mprotect(maps[1], PAGE, PROT_READ);
    if (write(ends[1], "xy", 2) != 2) return;
    printf("read into what is read-only %ld\n", result_of(read(ends[0], maps[1], 2)));
    mprotect(maps[1], PAGE, PROT_NONE);
    printf("write from what is closed %ld\n", result_of(write(ends[1], maps[1], 2)));
    munmap(maps[1], PAGE);
    printf("write from what is gone %ld\n", result_of(write(ends[1], maps[1], 2)));
}

static void direct_io(void) {
    char name[] = "/var/tmp/cloister-direct-XXXXXX";
    int made = mkstemp(name), file = open(name, O_RDWR | O_DIRECT);
    char *buffer = mmap(NULL, PAGE, RW, ANONYMOUS, -1, 0);
    memset(buffer, 'd', PAGE);
    printf("open %d write %ld", file >= 0, result_of(pwrite(file, buffer, PAGE, 0)));
    memset(buffer, 0, PAGE);
    printf(" read %ld", result_of(pread(file, buffer, PAGE, 0)));
    printf(" byte %c\n", buffer[PAGE - 1]);
    unlink(name);
    close(made);
}

static void locking(void) {
    char *p = mmap(NULL, PAGE, RW, ANONYMOUS, -1, 0);
    printf("mlock %ld munlock %ld\n", result_of(mlock(p, PAGE)), result_of(munlock(p, PAGE)));
    printf("msync %ld odd %ld\n", result_of(msync(p, PAGE, MS_SYNC)), result_of(msync(p + 1, PAGE, MS_SYNC)));
    printf("both %ld\n", result_of(msync(p, PAGE, MS_SYNC | MS_ASYNC)));
    printf("protection bits %ld\n", result_of(syscall(SYS_mprotect, p, PAGE, 0x80)));
}

static void residency(void) {
    unsigned char pages[8] = {0};
    char *p = mmap(NULL, 6 * PAGE, RW, ANONYMOUS, -1, 0);
    memset(p, 'r', 6 * PAGE);
    munmap(p + 2 * PAGE, PAGE);
    munmap(p + 5 * PAGE, PAGE);
    printf("mapped %ld\n", result_of(mincore(p, 2 * PAGE, pages)));
    printf("resident %d %d\n", pages[0] & 1, pages[1] & 1);
    printf("hole %ld, behind it %ld, end %ld\n", result_of(mincore(p, 4 * PAGE, pages)), result_of(mincore(p + 3 * PAGE, PAGE + 1, pages)),
           result_of(mincore(p + 4 * PAGE, PAGE + 1, pages)));
    printf("odd %ld empty %ld bad %ld\n", result_of(mincore(p + 1, PAGE, pages)), result_of(mincore(p, 0, pages)),
           result_of(mincore(p, PAGE, (unsigned char *)8)));
}

/* An address that is only suggested is kept where it continues what is there. */
static void hints(void) {
    char *p = mmap(NULL, 8 * PAGE, RW, ANONYMOUS, -1, 0);
    memset(p, 'h', 8 * PAGE);
    munmap(p + 2 * PAGE, 4 * PAGE);
    char *fits = mmap(p + 3 * PAGE, 2 * PAGE, RW, ANONYMOUS, -1, 0), *taken = mmap(p + 4 * PAGE, 2 * PAGE, RW, ANONYMOUS, -1, 0);
    printf("fits %d, taken %d\n", fits == p + 3 * PAGE, taken == p + 4 * PAGE);
    printf("new %d %d, others %c %c\n", fits[0], taken[0], p[PAGE], p[6 * PAGE]);
}

/* Far from the limit on both sides, for what else is mapped differs. */
static void address_limit(void) {
    const size_t MIB = 1 << 20;
    struct rlimit limit = {256 * MIB, 512 * MIB}, found = {0, 0}, lower = {MIB, 512 * MIB};
    printf("set %ld\n", result_of(setrlimit(RLIMIT_AS, &limit)));
    printf("get %ld", result_of(syscall(SYS_getrlimit, RLIMIT_AS, &found)));
    printf(": %zu %zu\n", (size_t)found.rlim_cur, (size_t)found.rlim_max);
    printf("too much: %s\n", mapped(mmap(NULL, 300 * MIB, PROT_NONE, ANONYMOUS, -1, 0)));
    char *p = mmap(NULL, 128 * MIB, RW, ANONYMOUS, -1, 0);
    printf("half: %s, again: %s\n", mapped(p), mapped(mmap(NULL, 128 * MIB, RW, ANONYMOUS, -1, 0)));
    printf("over it: %s\n", mapped(mmap(p, 128 * MIB, RW, ANONYMOUS | MAP_FIXED, -1, 0)));
    printf("longer: %s\n", mapped(mremap(p, 128 * MIB, 300 * MIB, MREMAP_MAYMOVE)));
    printf("a little: %s\n", mapped(mremap(p, 128 * MIB, 129 * MIB, MREMAP_MAYMOVE)));
    char *heap = (char *)syscall(SYS_brk, 0);
    printf("heap %d\n", (char *)syscall(SYS_brk, heap + 200 * MIB) == heap);
    printf("a little %d\n", (char *)syscall(SYS_brk, heap + MIB) == heap + MIB);
    printf("lower %ld\n", result_of(prlimit(0, RLIMIT_AS, &lower, &found)));
    printf("was %zu\n", (size_t)found.rlim_cur);
    printf("more: %s\n", mapped(mmap(NULL, PAGE, RW, ANONYMOUS, -1, 0)));
    printf("bad %ld\n", result_of(syscall(SYS_setrlimit, RLIMIT_AS, 8)));
    printf("bad %ld\n", result_of(syscall(SYS_getrlimit, RLIMIT_AS, 8)));
    printf("files %ld\n", result_of(getrlimit(RLIMIT_NOFILE, &found)));
}

static const struct scenario all[] = {
    SCENARIO(decommit), SCENARIO(advice), SCENARIO(guard_pages), SCENARIO(code), SCENARIO(places), SCENARIO(reservations),
    SCENARIO(file_errors), SCENARIO(files), SCENARIO(kernel_access), SCENARIO(direct_io), SCENARIO(locking), SCENARIO(residency), SCENARIO(hints), SCENARIO(address_limit),
};

RUN_SCENARIOS(all)
