/* Detached threads: musl's unmap the stack they stand on, then exit. */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static int ran;

static void *body(void *argument) {
    __atomic_add_fetch(&ran, 1, __ATOMIC_SEQ_CST);
    return argument;
}

int main(void) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (int i = 0; i < 500; i++) {
        pthread_t thread;
        if (pthread_create(&thread, &attributes, body, NULL)) return 1;
    }
    for (int i = 0; i < 500 && __atomic_load_n(&ran, __ATOMIC_SEQ_CST) < 500; i++) usleep(10000);
    usleep(100000);
    printf("ran %d\n", ran);
    return 0;
}
