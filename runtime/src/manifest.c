#include "manifest.h"

#include <linux/fcntl.h>
#include <linux/mman.h>

#include "admission.h"
#include "elf_file.h"
#include "fail.h"
#include "opening.h"
#include "state.h"

enum { CBOR_BYTES = 2, CBOR_TEXT = 3, CBOR_MAP = 5, CBOR_ONE_BYTE = 24, FROM_END = 2 };

struct entry {
    const char *path; /* not terminated */
    u32 length;
    const u8 *digest;
};

static struct reader read_entries(u32 *count) {
    struct reader reader = region_read(&state.manifest);
    if (read_u32(&reader) != 0) reader.bad = true; /* flags: none is known */
    *count = read_u32(&reader);
    return reader;
}

static struct entry read_entry(struct reader *reader) {
    struct entry entry;
    entry.path = read_text(reader, &entry.length);
    entry.digest = read_bytes(reader, SHA256_SIZE);
    return entry;
}

/* As deterministic CBOR orders the keys of a map: by length, then by bytes. */
static int compare(const struct entry *entry, const char *path, size_t length) {
    if (entry->length != length) return entry->length < length ? -1 : 1;
    return memcmp(entry->path, path, length);
}

static bool is_closed_directory(const struct entry *entry) { return entry->path[entry->length - 1] == '/'; }

/* No path: those begin with a slash. */
static const char broker[] = "broker";
static bool is_broker(const struct entry *entry) { return compare(entry, broker, sizeof broker - 1) == 0; }

static bool is_in_order(const struct entry *entry) {
    static char path[PATH_SIZE] BEHIND, normal[PATH_SIZE] BEHIND;
    static const u8 nothing[SHA256_SIZE];
    if (is_broker(entry)) return true;
    if (entry->length == 0 || entry->length >= PATH_SIZE || entry->path[0] != '/') return false;
    bool closed = is_closed_directory(entry);
    if (closed != (memcmp(entry->digest, nothing, SHA256_SIZE) == 0)) return false;
    size_t length = entry->length - (closed && entry->length > 1);
    memcpy(path, entry->path, length);
    path[length] = 0;
    return strlen(path) == length && path_normalise(AT_HERE, path, normal, sizeof normal) && same_string(path, normal);
}

bool admission_check_manifest(void) {
    u32 count;
    struct reader reader = read_entries(&count);
    struct entry previous = {0};
    for (u32 i = 0; i < count && !reader.bad; i++) {
        struct entry entry = read_entry(&reader);
        if (reader.bad || !is_in_order(&entry)) return false;
        if (i && compare(&previous, entry.path, entry.length) >= 0) return false;
        previous = entry;
    }
    return !reader.bad && reader.at == reader.end;
}

const u8 *manifest_find(const char *path) {
    u32 count;
    size_t length = strlen(path);
    struct reader reader = read_entries(&count);
    for (u32 i = 0; i < count; i++) {
        struct entry entry = read_entry(&reader);
        if (reader.bad || entry.length > length) return NULL;
        if (compare(&entry, path, length) == 0) return entry.digest;
    }
    return NULL;
}

bool manifest_closes(const char *path) {
    u32 count;
    size_t length = strlen(path);
    struct reader reader = read_entries(&count);
    for (u32 i = 0; i < count; i++) {
        struct entry entry = read_entry(&reader);
        if (reader.bad || entry.length > length) return false;
        if (is_closed_directory(&entry) && memcmp(entry.path, path, entry.length) == 0) return true;
    }
    return false;
}

bool manifest_has_digest(const u8 digest[SHA256_SIZE]) {
    u32 count;
    struct reader reader = read_entries(&count);
    for (u32 i = 0; i < count; i++) {
        struct entry entry = read_entry(&reader);
        if (reader.bad) return false;
        if (memcmp(entry.digest, digest, SHA256_SIZE) == 0) return true;
    }
    return false;
}

const u8 *manifest_broker(void) { return manifest_find(broker); }

/* The head of a CBOR item (RFC 8949, section 3), in its shortest form. */
static void add_head(struct sha256 *hash, u8 major, u32 value) {
    u8 head[5] = {(u8)(major << 5)};
    size_t size = value < CBOR_ONE_BYTE ? 0 : value < 1U << 8 ? 1 : value < 1U << 16 ? 2 : 4;
    head[0] |= (u8)(size == 0 ? value : size == 4 ? CBOR_ONE_BYTE + 2 : CBOR_ONE_BYTE + size - 1);
    for (size_t i = 0; i < size; i++) head[1 + i] = (u8)(value >> (8 * (size - 1 - i)));
    sha256_add(hash, head, 1 + size);
}

void admission_manifest_digest(u8 digest[SHA256_SIZE]) {
    u32 count;
    struct reader reader = read_entries(&count);
    struct sha256 hash;
    sha256_start(&hash);
    add_head(&hash, CBOR_MAP, count);
    for (u32 i = 0; i < count; i++) {
        struct entry entry = read_entry(&reader);
        if (reader.bad) break;
        add_head(&hash, CBOR_TEXT, entry.length);
        sha256_add(&hash, entry.path, entry.length);
        add_head(&hash, CBOR_BYTES, SHA256_SIZE);
        sha256_add(&hash, entry.digest, SHA256_SIZE);
    }
    sha256_finish(&hash, digest);
}

void manifest_take(int fd) {
    long size = SYS3(__NR_lseek, fd, 0, FROM_END);
    bool read = size > 0 && size <= CLOISTER_FRAME_MAX_BYTES && !failed(region_create(&state.manifest, (u64)size)) &&
                !failed(read_exactly(fd, ptr_of(state.manifest.at), (u64)size, 0));
    if (!read || !admission_check_manifest())
        fail(CLOISTER_EXIT_USAGE, "the manifest of measured files is damaged, or is no regular file", 0,
             "cloister run --manifest FILE -- PROGRAM   hands it over in the right form");
    SYS1(__NR_close, fd);
}
