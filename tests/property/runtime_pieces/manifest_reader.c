/* Reads a manifest as the runtime does, from memory that ends where the manifest ends, under sanitizers. Prints "bad", or the
 * digest, then for each path on the command line "listed", "closed" or "unknown". */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "admission.h"
#include "fail.h"
#include "manifest.h"
#include "state.h"

enum { LARGEST = 1 << 20 };

/* Not called: only files are opened with these. */
long secret_map(u64 address, u64 length, int protection, int flags) { return (long)(address + length + (u64)protection + (u64)flags) * 0 - 1; }
void areas_put(u64 start, u64 end, int kind, int protection) { (void)start, (void)end, (void)kind, (void)protection; }
void areas_drop(u64 start, u64 end) { (void)start, (void)end; }
void secret_wipe(u64 start, u64 length, u8 *residency) { (void)start, (void)length, (void)residency; }
long read_exactly(int fd, void *to, u64 length, u64 offset) { return (void)fd, (void)to, (void)length, (void)offset, -1; }
void fail(int code, const char *what, long error, const char *fix) {
    (void)what, (void)error, (void)fix;
    exit(code);
}

int main(int count, char **words) {
    static char all[LARGEST];
    long size = 0, n;
    while ((n = read(0, all + size, LARGEST - (size_t)size)) > 0) size += n;
    char *exact = malloc((size_t)size + !size);
    for (long i = 0; i < size; i++) exact[i] = all[i];
    state.manifest = (struct region){.at = addr_of(exact), .size = (u64)size};
    if (!admission_check_manifest()) {
        puts("bad");
        return 0;
    }
    u8 digest[SHA256_SIZE];
    admission_manifest_digest(digest);
    for (int i = 0; i < SHA256_SIZE; i++) printf("%02x", digest[i]);
    puts("");
    for (int i = 1; i < count; i++) puts(manifest_find(words[i]) ? "listed" : manifest_closes(words[i]) ? "closed" : "unknown");
    free(exact);
    return 0;
}
