/* Seals and opens records of the console for test_console_records.py: lines of hexadecimal on standard input.
 *
 *   key KEY WHAT               prints the derived key
 *   seal KEY NUMBER KIND TEXT  prints the record (- for no text)
 *   open KEY RECORD            prints number, kind and text, or "refused" and whether any text was left */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console_record.h"

static u8 record[RECORD_MOST + 64];
static char word[4][2 * RECORD_MOST + 200];

static size_t bytes_of(const char *text, u8 *to) {
    size_t size = 0;
    unsigned byte;
    for (; text[0] && text[0] != '-' && text[1]; text += 2, to[size++] = (u8)byte) sscanf(text, "%2x", &byte);
    return size;
}

static void print(const u8 *bytes, size_t size) {
    if (!size) printf("-");
    while (size--) printf("%02x", *bytes++);
    printf("\n");
}

static void derive(void) {
    u8 key[AEAD_KEY], derived[AEAD_KEY];
    scanf("%s %s", word[0], word[1]);
    bytes_of(word[0], key);
    console_record_key(derived, key, word[1]);
    print(derived, sizeof derived);
}

static void seal(void) {
    u8 key[AEAD_KEY];
    scanf("%s %s %s %s", word[0], word[1], word[2], word[3]);
    bytes_of(word[0], key);
    size_t size = bytes_of(word[3], record + RECORD_HEAD);
    print(record, console_record_seal(record, key, strtoull(word[1], NULL, 10), (u8)atoi(word[2]), size));
}

static void open_record(void) {
    u8 key[AEAD_KEY], left = 0;
    scanf("%s %s", word[0], word[1]);
    bytes_of(word[0], key);
    u64 size = bytes_of(word[1], record);
    if (console_record_open(record, size, key)) {
        printf("%llu %u ", (unsigned long long)console_record_number(record), record[8]);
        print(record + RECORD_HEAD, size - RECORD_EXTRA);
        return;
    }
    for (u64 i = RECORD_HEAD; i + AEAD_TAG < size; i++) left |= record[i];
    printf("refused %u\n", size > RECORD_MOST ? 0 : left);
}

int main(void) {
    while (scanf("%s", word[0]) == 1) {
        if (!strcmp(word[0], "key")) derive();
        else if (!strcmp(word[0], "seal")) seal();
        else open_record();
        fflush(stdout);
    }
}
