/* What a program may try in a strict enclave. Each word of the command line is one attempt, `name:argument`; each prints one line. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096 };
static const unsigned char returns_42[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov $42, %eax; ret */

static void say(const char *what, long result) {
    if (result < 0) printf("%s: errno %d\n", what, errno);
    else printf("%s: %ld\n", what, result);
}

static void say_error(const char *what, long result) { printf("%s: %s\n", what, result < 0 ? strerrorname_np(errno) : "done"); }

static void show(const char *what, int fd) {
    char text[64] = "";
    if (fd < 0) {
        say_error(what, fd);
        return;
    }
    long n = read(fd, text, sizeof text - 1);
    text[n < 0 ? 0 : strcspn(text, "\n")] = 0;
    printf("%s: [%s]\n", what, text);
}

static void try_read(const char *path) {
    int fd = open(path, O_RDONLY);
    show("read", fd);
    close(fd);
}

static void try_openat2(const char *path) {
    struct {
        unsigned long flags, mode, resolve;
    } how = {0};
    int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
    show("openat2", fd);
    close(fd);
}

/* The number, flags and offset that a program sees. */
static void try_details(const char *path) {
    int low = dup(0);
    close(low);
    int fd = open(path, O_RDONLY | O_CLOEXEC), other = open(path, O_RDONLY);
    struct stat info = {0};
    fstat(fd, &info);
    printf("details: lowest %d then next %d, cloexec %d %d, mode %d, offset %ld, size %ld, permissions %o, changed %ld\n", fd == low,
           other == low + 1, fcntl(fd, F_GETFD), fcntl(other, F_GETFD), fcntl(fd, F_GETFL) & O_ACCMODE, (long)lseek(fd, 0, SEEK_CUR),
           (long)info.st_size, info.st_mode & 07777, (long)info.st_mtime);
    close(fd);
    close(other);
}

static void try_write(const char *path) {
    say_error("write", open(path, O_WRONLY));
    say_error("append", open(path, O_RDWR | O_APPEND));
    say_error("truncate", open(path, O_RDONLY | O_TRUNC));
    say_error("create", creat(path, 0600));
}

static void try_map(const char *path) {
    int fd = open(path, O_RDONLY);
    void *at = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    say_error("map private", at == MAP_FAILED ? -1 : 0);
    at = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    say_error("map shared", at == MAP_FAILED ? -1 : 0);
    at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE, fd, 0);
    say_error("map writable", at == MAP_FAILED ? -1 : 0);
    at = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
    say_error("map, then protect", at == MAP_FAILED ? -1 : mprotect(at, PAGE, PROT_READ | PROT_EXEC));
    at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    say_error("copy, then protect", at == MAP_FAILED ? -1 : mprotect(at, PAGE, PROT_READ | PROT_EXEC));
    close(fd);
}

static void try_memfd(const char *unused) {
    (void)unused;
    int fd = memfd_create("code", 0);
    if (write(fd, returns_42, sizeof returns_42) < 0 || ftruncate(fd, PAGE) < 0) perror("memfd");
    void *at = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    say_error("memfd", at == MAP_FAILED ? -1 : 0);
    fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    at = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    say_error("sealed memfd", at == MAP_FAILED ? -1 : 0);
    close(fd);
}

static void run_code(const char *what, void *at) {
    int (*code)(void);
    if (at == MAP_FAILED) {
        say_error(what, -1);
        return;
    }
    memcpy(&code, &at, sizeof code);
    say(what, code());
}

static void try_jit(const char *unused) {
    static unsigned char own[2 * PAGE];
    (void)unused;
    void *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at != MAP_FAILED) memcpy(at, returns_42, sizeof returns_42);
    run_code("map", at);
    at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(at, returns_42, sizeof returns_42);
    run_code("protect", mprotect(at, PAGE, PROT_READ | PROT_EXEC) ? MAP_FAILED : at);
    say_error("data", mprotect((void *)(((unsigned long)own + PAGE) & -PAGE), PAGE, PROT_READ | PROT_EXEC));
    at = (void *)((unsigned long)try_jit & -PAGE);
    say_error("text writable", mprotect(at, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
    int id = shmget(IPC_PRIVATE, PAGE, 0700);
    void *segment = shmat(id, NULL, SHM_EXEC);
    say_error("segment", segment == (void *)-1 ? -1 : 0);
    shmctl(id, IPC_RMID, NULL);
    say_error("personality", personality(READ_IMPLIES_EXEC));
}

static void try_dlopen(const char *path) {
    void *library = dlopen(path, RTLD_NOW);
    int (*answer)(void) = library ? dlsym(library, "answer") : NULL;
    if (answer) printf("dlopen: %d\n", answer());
    else printf("dlopen: refused\n");
}

/* Until a line comes: how often the library was refused, and each answer that it ever gave. */
static void try_dlopen_again(const char *path) {
    long refused = 0, counts[256] = {0};
    fcntl(0, F_SETFL, O_NONBLOCK);
    printf("again\n");
    fflush(stdout);
    for (char byte; read(0, &byte, 1) != 1;) {
        void *library = dlopen(path, RTLD_NOW);
        int (*answer)(void) = library ? dlsym(library, "answer") : NULL;
        if (answer) counts[answer() & 255]++;
        else refused++;
        if (library) dlclose(library);
    }
    printf("refused %ld\n", refused);
    for (int i = 0; i < 256; i++)
        if (counts[i]) printf("answer %d %ld\n", i, counts[i]);
}

/* A measured path that is opened without reading, then once more by its descriptor. */
static void try_by_descriptor(const char *path) {
    char link[32];
    int fd = open(path, O_PATH);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int other = open(link, O_RDONLY);
    void *at = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, other, 0);
    say_error("by descriptor", at == MAP_FAILED ? -1 : 0);
    close(fd);
    close(other);
}

/* Hashing a file uses registers that a system call must not change. The call goes through a patched site, or through SIGSYS. */
static int open_with(const char *path, const unsigned char before[256], unsigned char after[256], int patched) {
    register const char *from __asm__("rsi") = path;
    register long flags __asm__("rdx") = O_RDONLY;
    long result;
    __asm__ volatile(
        "movdqu (%[b]), %%xmm0\n movdqu 16(%[b]), %%xmm1\n movdqu 32(%[b]), %%xmm2\n movdqu 48(%[b]), %%xmm3\n"
        "movdqu 64(%[b]), %%xmm4\n movdqu 80(%[b]), %%xmm5\n movdqu 96(%[b]), %%xmm6\n movdqu 112(%[b]), %%xmm7\n"
        "movdqu 128(%[b]), %%xmm8\n movdqu 144(%[b]), %%xmm9\n movdqu 160(%[b]), %%xmm10\n movdqu 176(%[b]), %%xmm11\n"
        "movdqu 192(%[b]), %%xmm12\n movdqu 208(%[b]), %%xmm13\n movdqu 224(%[b]), %%xmm14\n movdqu 240(%[b]), %%xmm15\n"
        "test %[patched], %[patched]\n jz 1f\n mov $257, %%eax\n syscall\n jmp 2f\n"
        "1: mov $256, %%eax\n inc %%eax\n syscall\n 2:\n"
        "movdqu %%xmm0, (%[a])\n movdqu %%xmm1, 16(%[a])\n movdqu %%xmm2, 32(%[a])\n movdqu %%xmm3, 48(%[a])\n"
        "movdqu %%xmm4, 64(%[a])\n movdqu %%xmm5, 80(%[a])\n movdqu %%xmm6, 96(%[a])\n movdqu %%xmm7, 112(%[a])\n"
        "movdqu %%xmm8, 128(%[a])\n movdqu %%xmm9, 144(%[a])\n movdqu %%xmm10, 160(%[a])\n movdqu %%xmm11, 176(%[a])\n"
        "movdqu %%xmm12, 192(%[a])\n movdqu %%xmm13, 208(%[a])\n movdqu %%xmm14, 224(%[a])\n movdqu %%xmm15, 240(%[a])\n"
        : "=&a"(result)
        : [b] "r"(before), [a] "r"(after), [patched] "r"((long)patched), "D"((long)AT_FDCWD), "r"(from), "r"(flags)
        : "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
          "xmm12", "xmm13", "xmm14", "xmm15");
    return (int)result;
}

static void try_registers(const char *path) {
    for (int patched = 0; patched < 2; patched++) {
        unsigned char before[256], after[256];
        for (int i = 0; i < 256; i++) before[i] = (unsigned char)(i * 7 + 1);
        int fd = open_with(path, before, after, patched);
        printf("registers: opened %d, kept %d\n", fd >= 0, memcmp(before, after, sizeof before) == 0);
        close(fd);
    }
}

/* A byte of the vDSO that nobody uses: padding of its ELF header. */
static void try_vdso(const char *unused) {
    const unsigned char *vdso = (const unsigned char *)getauxval(AT_SYSINFO_EHDR);
    (void)unused;
    printf("vdso: %d\n", vdso ? vdso[9] : 0);
}

static void try_execute(const char *path) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        execl(path, path, "echo executed", (char *)NULL);
        say_error("execute", -1);
        fflush(stdout);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status)) printf("execute: exit %d\n", WEXITSTATUS(status));
}

static void try_execute_descriptor(const char *path) {
    int fd = open(path, O_RDONLY);
    char *words[] = {(char *)path, NULL};
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        fexecve(fd, words, environ);
        say_error("execute descriptor", -1);
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    close(fd);
}

/* Tells that it waits, and goes on when a line comes. What was opened before is then looked at again. */
static void try_hold(const char *path) {
    int fd = open(path, O_RDONLY);
    printf("holding\n");
    fflush(stdout);
    while (getchar() != '\n') continue;
    show("held", fd);
    close(fd);
}

static void try_directory(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    say_error("directory", fd);
    fd = openat(fd, "unlisted", O_RDONLY);
    say_error("in directory", fd);
}

struct attempt {
    const char *name;
    void (*function)(const char *argument);
};
static const struct attempt attempts[] = {
    {"read", try_read}, {"openat2", try_openat2}, {"details", try_details}, {"write", try_write}, {"map", try_map}, {"memfd", try_memfd},
    {"jit", try_jit}, {"dlopen", try_dlopen}, {"execute", try_execute}, {"execute-descriptor", try_execute_descriptor},
    {"vdso", try_vdso}, {"registers", try_registers}, {"dlopen-again", try_dlopen_again}, {"by-descriptor", try_by_descriptor}, {"hold", try_hold}, {"directory", try_directory},
};

static void attempt(const char *word) {
    size_t length = strcspn(word, ":");
    for (size_t i = 0; i < sizeof attempts / sizeof attempts[0]; i++)
        if (strlen(attempts[i].name) == length && strncmp(word, attempts[i].name, length) == 0)
            attempts[i].function(word[length] ? word + length + 1 : "");
}

int main(int count, char **words) {
    for (int i = 1; i < count; i++) {
        if (strcmp(words[i], "fork") == 0) {
            fflush(stdout);
            if (fork()) {
                wait(NULL);
                return 0;
            }
        } else attempt(words[i]);
        fflush(stdout);
    }
    return 0;
}
