/* usage: limits_threads COUNT. So many threads at once, each of which has written to its stack; all joined.
 * prints how many there were at the same time, and a sum that all of them made.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STACK = 64 << 10 };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long alive, most, sum, wanted;

static void *live(void *argument)
{
    volatile char bytes[8192];

    memset((char *)bytes, (int)(long)argument, sizeof bytes);
    pthread_mutex_lock(&lock);
    if (++alive > most)
        most = alive;
    if (most == wanted)
        pthread_cond_broadcast(&changed);
    while (most < wanted)
        pthread_cond_wait(&changed, &lock);
    alive--;
    sum += (long)argument + (bytes[4096] != (char)(long)argument);
    pthread_mutex_unlock(&lock);
    return argument;
}

int main(int argc, char **argv)
{
    pthread_attr_t small;
    pthread_t *threads;

    wanted = argc > 1 ? atol(argv[1]) : 0;
    threads = calloc((size_t)wanted, sizeof *threads);
    if (!threads || pthread_attr_init(&small) || pthread_attr_setstacksize(&small, STACK))
        return 2;
    for (long i = 0; i < wanted; i++)
        if (pthread_create(&threads[i], &small, live, (void *)i) != 0) {
            fprintf(stderr, "limits_threads: %ld threads, no more\n", i);
            return 1;
        }
    for (long i = 0; i < wanted; i++) {
        void *result;

        if (pthread_join(threads[i], &result) != 0 || result != (void *)i)
            return 3;
    }
    printf("%ld at once, sum %ld\n", most, sum);
    return 0;
}
