/* Asks the guard for its words, through the runtime's own functions: their addresses are on the command line, as nm(1) tells them. Each
 * line of standard input is an order, and is answered by a line. */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef unsigned long u64;
struct root {
    u64 generation;
    unsigned char digest[32];
    u64 place;
};

static long (*add)(unsigned, u64, u64 *);
static long (*swap)(unsigned, unsigned, u64, const struct root *, struct root *, u64 *);
static long (*look)(unsigned, unsigned, struct root *, u64 *);
static long (*lease)(unsigned, unsigned *, struct root *, u64 *);
static long (*give)(unsigned, unsigned, u64, const struct root *, struct root *, u64 *);
static long (*executing)(int, u64 *);
static unsigned char *key; /* the tree's, in the runtime's state */
static char **own_words;
extern char **environ;

static unsigned held; /* the lease that this process says it has */

static void show(long result, const struct root *root, u64 families)
{
    printf("%ld %lu %lu %02x%02x %lu\n", result, root->generation, root->place, root->digest[0], root->digest[31], families);
}

/* From the program's own code, with registers of its choice. */
static void raw(u64 mark)
{
    long result;
    u64 rdi = (u64)3 << 32, rdx = 5;
    __asm__ volatile("mov %3, %%rbx\nmov %3, %%r12\nmov %3, %%r13\nmov %3, %%r14\nsyscall\n"
                     : "=a"(result), "+D"(rdi), "+d"(rdx)
                     : "r"(mark), "a"(29460L)
                     : "rbx", "r12", "r13", "r14", "rcx", "r11", "memory");
    printf("%ld %d\n", result, rdi == (u64)3 << 32 && rdx == 5);
}

static void start(const char *program, int wait_for_it)
{
    char *words[] = {(char *)program, "0.3", NULL};
    pid_t child;
    int status = posix_spawn(&child, program, NULL, NULL, words, environ);
    if (!status && wait_for_it)
        waitpid(child, &status, 0);
    printf("%d\n", status);
}

static FILE *to_other, *from_other;

/* Another family: this program, executed by a child. */
static void start_other(void)
{
    int there[2], back[2];
    if (pipe(there) || pipe(back))
        exit(1);
    if (!fork()) {
        dup2(there[0], 0);
        dup2(back[1], 1);
        for (int fd = 3; fd < 20; fd++)
            close(fd);
        execve(own_words[0], own_words, environ);
        _exit(1);
    }
    close(there[0]);
    close(back[1]);
    to_other = fdopen(there[1], "w");
    from_other = fdopen(back[0], "r");
    printf("0\n");
}

static void tell_other(const char *line)
{
    char answer[200] = "";
    fputs(line, to_other);
    fflush(to_other);
    fputs(fgets(answer, sizeof answer, from_other) ? answer : "gone\n", stdout);
}

static int order(char *line)
{
    if (!strncmp(line, "tell ", 5)) {
        tell_other(line + 5);
        fflush(stdout);
        return 0;
    }
    char *word = strtok(line, " \n");
    u64 a[4] = {0}, got = 0;
    char *text = strtok(NULL, " \n");
    const char *program = text;
    for (int i = 0; i < 4 && text; i++, text = strtok(NULL, " \n"))
        a[i] = strtoul(text, NULL, 10);
    struct root fresh = {.generation = a[2], .place = a[3]}, current;
    memset(fresh.digest, (int)a[2], sizeof fresh.digest);
    memset(&current, 0, sizeof current);
    if (!strcmp(word, "add")) {
        long result = add((unsigned)a[0], a[1], &got);
        printf("%ld %lu\n", result, got);
    } else if (!strcmp(word, "swap")) {
        long result = swap((unsigned)a[0], held, a[1], &fresh, &current, &got);
        show(result, &current, got);
    } else if (!strcmp(word, "return")) {
        long result = give((unsigned)a[0], held, a[1], &fresh, &current, &got);
        held = 0;
        show(result, &current, got);
    } else if (!strcmp(word, "lease")) {
        long result = lease((unsigned)a[0], &held, &current, &got);
        printf("%ld %d\n", result, held != 0);
    } else if (!strcmp(word, "look")) {
        long result = look((unsigned)a[0], held, &current, &got);
        show(result, &current, got);
    } else if (!strcmp(word, "executing")) {
        long result = executing((int)a[0], &got);
        printf("%ld %lu\n", result, got);
    } else if (!strcmp(word, "raw"))
        raw(a[0]);
    else if (!strcmp(word, "wrongkey")) {
        key[0] ^= 1;
        long result = add(0, 1, &got);
        key[0] ^= 1;
        printf("%ld\n", result);
    } else if (!strcmp(word, "run"))
        start(program, 1);
    else if (!strcmp(word, "background"))
        start(program, 0);
    else if (!strcmp(word, "other"))
        start_other();
    else if (!strcmp(word, "end"))
        _exit(0);
    else if (!strcmp(word, "fork")) {
        fflush(stdout);
        if (fork())
            wait(NULL);
        else
            return 0;
    } else
        return 1;
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv)
{
    static char line[200];
    void *at[7];
    for (int i = 0; i < 7 && i + 1 < argc; i++)
        at[i] = (void *)strtoul(argv[i + 1], NULL, 16);
    own_words = argv;
    add = (long (*)(unsigned, u64, u64 *))at[0];
    swap = (long (*)(unsigned, unsigned, u64, const struct root *, struct root *, u64 *))at[1];
    look = (long (*)(unsigned, unsigned, struct root *, u64 *))at[2];
    executing = (long (*)(int, u64 *))at[3];
    lease = (long (*)(unsigned, unsigned *, struct root *, u64 *))at[4];
    give = (long (*)(unsigned, unsigned, u64, const struct root *, struct root *, u64 *))at[5];
    key = (unsigned char *)at[6] + 6 * sizeof(u64); /* behind the counters: runtime/src/state.h */
    setvbuf(stdin, NULL, _IONBF, 0);
    while (fgets(line, sizeof line, stdin))
        if (order(line))
            return 1;
    return 0;
}
