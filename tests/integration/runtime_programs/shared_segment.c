/* A System V segment over memory of the program's own (SHM_REMAP), which is given up then and asked for again. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>

enum { PAGE = 4096, SIZE = 8 * PAGE };

static char *own_memory(void) { return mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }

int main(void) {
    char *own = own_memory();
    int id = shmget(IPC_PRIVATE, PAGE, 0600);
    char *over = shmat(id, own + PAGE, SHM_REMAP);
    int error = over == (char *)-1 ? errno : 0;
    char *seen = shmat(id, NULL, 0);
    shmctl(id, IPC_RMID, NULL);
    munmap(own, SIZE);
    memset(own_memory(), 's', SIZE);
    printf("over %d, shared %d\n", error, seen[0] == 's');
    return 0;
}
