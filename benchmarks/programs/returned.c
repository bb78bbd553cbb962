/* Memory given back: resident memory after 200 MB were used and freed, and a tenth of a second passed.
 *
 * usage: returned pieces|mapping|discarded
 *
 * pieces: 1 KiB each from malloc(3), all freed. mapping: one mmap(2), all touched, unmapped. discarded: the same, but the
 * mapping stays and its pages go with madvise(2), as virtual machines of languages do with their heaps.
 * prints "peak N" and "after N": VmRSS of proc_pid_status(5), in MiB.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, PIECE = 1024, PIECES = 200 * 1000 * 1000 / PIECE, BYTES = PIECES * PIECE };

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* Without stdio: a FILE that malloc(3) puts behind the pieces would keep all of them. */
static double resident(void)
{
    char text[8192];
    int file = open("/proc/self/status", O_RDONLY);
    ssize_t length = file < 0 ? -1 : read(file, text, sizeof text - 1);
    const char *line;

    if (length < 0)
        fail("returned: /proc/self/status");
    close(file);
    text[length] = 0;
    line = strstr(text, "\nVmRSS:");
    if (!line)
        fail("returned: VmRSS");
    return strtod(line + strlen("\nVmRSS:"), NULL) / 1024;
}

static double use_pieces(void)
{
    static char *pieces[PIECES];
    double peak;

    for (int i = 0; i < PIECES; i++) {
        pieces[i] = malloc(PIECE);
        if (!pieces[i])
            fail("returned: malloc");
        memset(pieces[i], 1, PIECE);
    }
    peak = resident();
    for (int i = 0; i < PIECES; i++)
        free(pieces[i]);
    return peak;
}

static double use_mapping(int stays)
{
    char *bytes = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    double peak;

    if (bytes == MAP_FAILED)
        fail("returned: mmap");
    for (int i = 0; i < BYTES; i += PAGE)
        bytes[i] = 1;
    peak = resident();
    if ((stays ? madvise(bytes, BYTES, MADV_DONTNEED) : munmap(bytes, BYTES)) != 0)
        fail("returned: giving back");
    return peak;
}

int main(int argc, char **argv)
{
    const struct timespec moment = {.tv_nsec = 100000000};
    double peak;

    if (argc != 2)
        return 2;
    peak = strcmp(argv[1], "pieces") == 0 ? use_pieces() : use_mapping(strcmp(argv[1], "discarded") == 0);
    nanosleep(&moment, NULL);
    printf("peak %.2f\nafter %.2f\n", peak, resident());
    return 0;
}
