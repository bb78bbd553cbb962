/* What was looked at and what was found, printed as one JSON document. Of a secret: its name and a length, never a byte. */
#include "sampler.h"
#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { MOST_COUNTERS = 1024, MOST_HITS = 256 };

struct counter {
    char process[32];
    char what[32];
    uint64_t times;
};
struct hit {
    char process[32], kind[24], detail[200], needle[48];
    pid_t pid;
    size_t length;
    uint64_t times;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct counter counters[MOST_COUNTERS];
static struct hit hits[MOST_HITS];
static size_t counter_count, hit_count;
static uint64_t hits_lost;

void count(const char *process, const char *what, uint64_t times) {
    pthread_mutex_lock(&lock);
    size_t i = 0;
    while (i < counter_count && (strcmp(counters[i].process, process) != 0 || strcmp(counters[i].what, what) != 0))
        i++;
    if (i == counter_count && counter_count < MOST_COUNTERS) {
        snprintf(counters[i].process, sizeof counters[i].process, "%s", process);
        snprintf(counters[i].what, sizeof counters[i].what, "%s", what);
        counter_count++;
    }
    if (i < counter_count)
        counters[i].times += times;
    pthread_mutex_unlock(&lock);
}

static bool same(const struct hit *hit, const struct place *place, const char *needle) {
    return hit->pid == place->pid && strcmp(hit->process, place->process) == 0 && strcmp(hit->kind, place->kind) == 0 &&
           strcmp(hit->needle, needle) == 0 &&
           strncmp(hit->detail, place->detail, sizeof hit->detail - 1) == 0;
}

void record_hit(const struct place *place, const char *needle, size_t length) {
    pthread_mutex_lock(&lock);
    size_t i = 0;
    while (i < hit_count && !same(&hits[i], place, needle))
        i++;
    if (i == MOST_HITS) {
        hits_lost++;
    } else {
        struct hit *hit = &hits[i];
        if (i == hit_count) {
            hit_count++;
            hit->pid = place->pid;
            snprintf(hit->process, sizeof hit->process, "%s", place->process);
            snprintf(hit->kind, sizeof hit->kind, "%s", place->kind);
            snprintf(hit->detail, sizeof hit->detail, "%s", place->detail);
            snprintf(hit->needle, sizeof hit->needle, "%s", needle);
        }
        hit->times++;
        if (length > hit->length)
            hit->length = length;
    }
    pthread_mutex_unlock(&lock);
}

static void print_text(const char *text) {
    putchar('"');
    for (; *text; text++)
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else
            putchar(isprint((unsigned char)*text) ? *text : '?');
    putchar('"');
}

static void print_member(const char *name, const char *text) {
    printf(", \"%s\": ", name);
    print_text(text);
}

void print_record(const char *ending) {
    printf("{%s, \"hits_lost\": %lu, \"hits\": [", ending, hits_lost);
    for (size_t i = 0; i < hit_count; i++) {
        printf("%s{\"pid\": %d, \"length\": %zu, \"times\": %lu", i ? ", " : "", hits[i].pid, hits[i].length, hits[i].times);
        print_member("process", hits[i].process);
        print_member("kind", hits[i].kind);
        print_member("detail", hits[i].detail);
        print_member("needle", hits[i].needle);
        printf("}");
    }
    printf("], \"counts\": [");
    for (size_t i = 0; i < counter_count; i++) {
        printf("%s{\"times\": %lu", i ? ", " : "", counters[i].times);
        print_member("process", counters[i].process);
        print_member("what", counters[i].what);
        printf("}");
    }
    printf("]}\n");
}
