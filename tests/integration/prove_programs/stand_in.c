/* A stand-in for an enclaved program: reads one line from standard input straight into secret memory, prints the hash
 * of it, waits for a second line, and stops at the checkpoints as the runtime does. With LEAK=heap in its environment
 * it copies the secret to ordinary memory just before its exit: only the checkpoint at exit can see that. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static void checkpoint(const char *path, const char *at) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int connection = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(connection, (struct sockaddr *)&address, sizeof address) == 0) {
        dprintf(connection, "{\"pid\":%d,\"at\":\"%s\",\"exe\":\"stand-in\"}\n", (int)getpid(), at);
        char byte;
        if (read(connection, &byte, 1) != 1) perror("checkpoint");
    }
    close(connection);
}

int main(int argc, char **argv) {
    const char *path = "";
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], "--checkpoint=", 13) == 0) path = argv[i] + 13;
    checkpoint(path, "start");
    int descriptor = (int)syscall(SYS_memfd_secret, 0);
    if (descriptor < 0 || ftruncate(descriptor, 4096) != 0) { perror("memfd_secret"); return 120; }
    unsigned char *secret = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (secret == MAP_FAILED) { perror("mmap"); return 120; }
    close(descriptor);
    ssize_t length = read(0, secret, 4096);
    unsigned hash = 0;
    for (ssize_t i = 0; i + 1 < length; i++) hash = 31 * hash + secret[i];
    printf("Enter a secret: Hash of your input: %u\n", hash);
    fflush(stdout);
    char byte;
    if (read(0, &byte, 1) < 0) return 1;
    const char *leak = getenv("LEAK");
    char *copy = leak && strcmp(leak, "heap") == 0 ? strndup((char *)secret, (size_t)length) : NULL;
    checkpoint(path, "exit");
    free(copy);
    return 0;
}
