/* Reads ELF files from standard input, each as u32 length + bytes, and prints what elf_read says of each. Built with the
 * sanitizers, so a read or write out of bounds ends it. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "elf_file.h"

static long read_one(const void *bytes, uint32_t size) {
    static struct elf_file elf;
    int fd = memfd_create("elf", 0);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size) exit(3);
    long result = elf_read(fd, &elf);
    close(fd);
    if (result == 0) printf("0 %#lx %#lx %s\n", elf.low, elf.high, elf.interpreter);
    else printf("%ld\n", result);
    return result;
}

int main(void) {
    uint32_t size;
    while (fread(&size, sizeof size, 1, stdin) == 1) {
        void *bytes = malloc(size ? size : 1);
        if (!bytes || fread(bytes, 1, size, stdin) != size) return 2;
        read_one(bytes, size);
        fflush(stdout);
        free(bytes);
    }
    return 0;
}
