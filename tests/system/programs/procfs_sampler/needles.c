/* The secrets, and the search for fragments of them.
 *
 * Every eight bytes of every needle stand in a table. A search looks at every fourth position of what was read, and compares what
 * stands around a match: so it finds any eleven bytes of a needle or more, not only the whole of it. */
#include "sampler.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GRAM = 8, STEP = 4, TABLE = 1 << 17, MOST_NEEDLES = 4096 };

struct needle {
    char name[48];
    uint8_t *bytes;
    size_t size;
};
struct entry {
    uint64_t gram;
    uint32_t needle; /* counted from 1; 0: nothing */
    uint32_t at;
};

static struct needle needles[MOST_NEEDLES];
static size_t needle_count, entry_count;
static struct entry table[TABLE];
static uint8_t filter[8192]; /* one bit for each hash of 16 bits: small enough for the first cache */

static uint64_t hash_of(uint64_t gram) { return gram * 0x9e3779b97f4a7c15ULL; }

static uint64_t gram_at(const uint8_t *at) {
    uint64_t gram;
    memcpy(&gram, at, sizeof gram);
    return gram;
}

static void enter(uint64_t gram, uint32_t needle, uint32_t at) {
    uint64_t hash = hash_of(gram);
    filter[hash >> 51] |= (uint8_t)(1 << (hash >> 48 & 7));
    size_t slot = hash >> 47;
    while (table[slot].needle)
        slot = (slot + 1) % TABLE;
    table[slot] = (struct entry){gram, needle, at};
    if (++entry_count > TABLE / 2) {
        fprintf(stderr, "sampler: too many secrets\n");
        exit(2);
    }
}

static void add(const char *name, const char *hex) {
    size_t size = strlen(hex) / 2;
    if (needle_count == MOST_NEEDLES || size < SHORTEST_IN_MEMORY) {
        fprintf(stderr, "sampler: too many secrets, or too short a one: %s\n", name);
        exit(2);
    }
    struct needle *made = &needles[needle_count++];
    snprintf(made->name, sizeof made->name, "%s", name);
    made->bytes = malloc(size);
    made->size = size;
    for (size_t i = 0; i < size; i++) {
        unsigned byte = 0;
        sscanf(hex + 2 * i, "%2x", &byte);
        made->bytes[i] = (uint8_t)byte;
    }
    for (size_t i = 0; i + GRAM <= size; i++)
        enter(gram_at(made->bytes + i), (uint32_t)needle_count, (uint32_t)i);
}

void needles_read(void) {
    static char name[48], hex[16384];
    while (scanf("%47s %16383s", name, hex) == 2)
        add(name, hex);
    if (!needle_count) {
        fprintf(stderr, "sampler: no secrets on standard input\n");
        exit(2);
    }
}

/* How many bytes around data[at] are those around bytes[entry->at] of the needle. */
static size_t fragment(const struct entry *entry, const uint8_t *data, size_t size, size_t at) {
    const struct needle *needle = &needles[entry->needle - 1];
    size_t before = 0, after = GRAM;
    while (before < at && before < entry->at && data[at - before - 1] == needle->bytes[entry->at - before - 1])
        before++;
    while (at + after < size && entry->at + after < needle->size && data[at + after] == needle->bytes[entry->at + after])
        after++;
    return before + after;
}

static void examine(const struct place *place, const uint8_t *data, size_t size, size_t at, size_t shortest) {
    uint64_t gram = gram_at(data + at);
    for (size_t slot = hash_of(gram) >> 47; table[slot].needle; slot = (slot + 1) % TABLE) {
        if (table[slot].gram != gram)
            continue;
        size_t length = fragment(&table[slot], data, size, at);
        if (length >= shortest) {
            record_hit(place, needles[table[slot].needle - 1].name, length);
            return;
        }
    }
}

static void search_by(const struct place *place, const uint8_t *data, size_t size, size_t step, size_t shortest) {
    for (size_t at = 0; at + GRAM <= size; at += step) {
        uint64_t hash = hash_of(gram_at(data + at));
        if (filter[hash >> 51] & 1 << (hash >> 48 & 7))
            examine(place, data, size, at, shortest);
    }
}

void search(const struct place *place, const void *data, size_t size) {
    search_by(place, data, size, STEP, SHORTEST_IN_MEMORY);
}

void search_registers(const struct place *place, const void *data, size_t size) {
    search_by(place, data, size, 1, SHORTEST_IN_REGISTERS);
}
