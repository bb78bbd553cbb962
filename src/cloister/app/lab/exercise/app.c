/* The exercise's program: it keeps a secret in memory and shows only its hash. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static char *get_input(void) {
    size_t length = 0, room = 64;
    char *input = malloc(room);
    int c;

    while (input != NULL && (c = getchar()) != EOF && c != '\n') {
        input[length++] = (char)c;
        if (length == room) {
            char *larger = realloc(input, room *= 2);
            if (larger == NULL)
                free(input);
            input = larger;
        }
    }
    if (input != NULL)
        input[length] = '\0';
    return input;
}

static uint32_t simple_hash(const char *text) {
    uint32_t hash = 0;

    while (*text != '\0')
        hash = 31 * hash + (unsigned char)*text++;
    return hash;
}

int main(void) {
    printf("Enter a secret: ");
    fflush(stdout);

    /* store input to buffer */
    char *input = get_input();
    if (input == NULL)
        return 1;

    /* hash the secret and print only that */
    printf("Hash of your input: %u\n", simple_hash(input));
    fflush(stdout);

    /* pause the program: dump its memory in another terminal */
    getchar();

    free(input);
    return 0;
}
