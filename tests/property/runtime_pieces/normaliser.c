/* Normalises the paths on the command line as the runtime does, one result per line; "-" if it refuses. */
#include <stdio.h>
#include <stdlib.h>

#include "opening.h"

int main(int count, char **words) {
    size_t size = (size_t)atoi(words[1]);
    for (int i = 2; i < count; i++) {
        char *out = malloc(size);
        puts(path_normalise(AT_HERE, words[i], out, size) ? out : "-");
        free(out);
    }
    return 0;
}
