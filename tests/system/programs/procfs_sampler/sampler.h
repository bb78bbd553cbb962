/* A watcher with an administrator's means only: procfs, ptrace, copies of descriptors, files. It starts a program, looks at every
 * process below it all the time, and searches whatever can be read for fragments of secrets that it knows. It uses nothing of
 * Cloister, so that what it does not find is not hidden by Cloister. */
#ifndef SAMPLER_H
#define SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

enum {
    SHORTEST_IN_MEMORY = 12, /* bytes of a secret in a row, wherever they stand, that count as found */
    SHORTEST_IN_REGISTERS = 8,
    MOST_PROCESSES = 256,
};

/* Where something is read: kept beside the search, so that a hit can say it. */
struct place {
    pid_t pid;
    const char *process; /* its name */
    const char *kind;
    const char *detail;
};

/* needles.c */
void needles_read(void); /* from standard input: lines of "NAME HEX" */
void search(const struct place *place, const void *data, size_t size);
void search_registers(const struct place *place, const void *data, size_t size);

/* record.c: what happened, by process name and kind. Any thread may call these. */
void count(const char *process, const char *what, uint64_t times);
void record_hit(const struct place *place, const char *needle, size_t length);
void print_record(const char *ending);

/* tree.c */
extern pid_t root;                 /* whose descendants are watched; not itself */
extern struct timespec start_time; /* files elsewhere that did not change since then got no secret in this run */
size_t tree_members(pid_t members[MOST_PROCESSES]);
const char *name_of(pid_t pid, char name[32]);
bool changed_since_start(const struct timespec *changed);
size_t read_small(const char *path, void *buffer, size_t size);

/* One look each. */
void look_at_texts(pid_t pid, const char *name);       /* texts.c: cmdline, environ, maps and so on */
void look_at_descriptors(pid_t pid, const char *name); /* descriptors.c: what waits in pipes, sockets, memfds, files */
void look_at_memory(pid_t pid, const char *name, bool stacks_only);    /* memory.c */
void look_at_registers(pid_t pid, const char *name);                   /* registers.c: by attaching with ptrace */
void look_at_directory(const char *path, int depth);                   /* files.c */
void look_at_open_file(const struct place *place, int fd, off_t most); /* files.c */
void look_at_kernel_log(void);                                         /* files.c */

#endif
