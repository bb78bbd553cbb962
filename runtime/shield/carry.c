#include "carry.h"

#include <linux/fcntl.h>

#include "console.h"
#include "kept_path.h"
#include "ledger.h"
#include "mount_carry.h"
#include "pipe.h"
#include "table.h"
#include "working.h"

enum { LAST = 0xffffffff };

static bool is_inherited(u64 fd) { return SYS2(__NR_fcntl, fd, F_GETFD) == 0; }

static void put_u32(struct writer *writer, put_bytes *put, u32 value) { put(writer, &value, sizeof value); }

static void put_text(struct writer *writer, put_bytes *put, const char *text) {
    put_u32(writer, put, (u32)strlen(text));
    put(writer, text, strlen(text));
}

static void put_table(struct writer *writer, put_bytes *put) {
    struct shielded entry;
    for (u64 fd = 0; fd < table_end(); fd++) {
        if (!table_get(fd, &entry) || !is_inherited(fd)) continue;
        put_u32(writer, put, (u32)fd);
        put(writer, &entry, sizeof entry);
        put_text(writer, put, kept_path_text(entry.path));
        if (entry.kind == SHIELD_SOCKET) socket_carry_write(writer, put, &entry);
    }
    put_u32(writer, put, LAST);
}

void carry_write(struct writer *writer, put_bytes *put) {
    if (!shield_is_on()) return;
    u32 console_numbers[2];
    console_carried(console_numbers);
    put_u32(writer, put, (u32)ledger_number());
    put(writer, console_numbers, sizeof console_numbers);
    put_u32(writer, put, working_mask());
    put(writer, working_directory(), sizeof(struct shielded));
    put_text(writer, put, working_path());
    put_table(writer, put);
    mount_carry_write(writer, put);
}

static bool read_path(struct reader *reader, char path[PATH_SIZE]) {
    u32 size;
    const char *text = read_text(reader, &size);
    if (!text || size >= PATH_SIZE) return false;
    memcpy(path, text, size);
    path[size] = 0;
    return true;
}

/* The policy is not read yet, so what is in the table is not told to its kinds: shield_begin does. */
static void read_table(struct reader *reader, char path[PATH_SIZE]) {
    for (u32 fd; (fd = read_u32(reader)) != LAST && !reader->bad;) {
        struct shielded entry = {0};
        const u8 *bytes = read_bytes(reader, sizeof entry);
        if (!bytes || !read_path(reader, path)) break;
        memcpy(&entry, bytes, sizeof entry);
        if (entry.path) {
            long kept = kept_path_put(path);
            entry.path = failed(kept) ? 0 : (u16)kept;
        }
        if (entry.kind == SHIELD_SOCKET) entry.object = socket_carry_read(reader);
        if (entry.kind == SHIELD_PIPE) pipe_inherited();
        table_restore(fd, &entry);
    }
}

void carry_read(struct reader *reader) {
    static char path[PATH_SIZE] BEHIND;
    if (!shield_is_on()) return;
    ledger_begin((int)read_u32(reader));
    u32 console_numbers[2];
    console_numbers[0] = read_u32(reader);
    console_numbers[1] = read_u32(reader);
    console_inherit(console_numbers);
    u32 mask = read_u32(reader);
    struct shielded directory = {0};
    const u8 *bytes = read_bytes(reader, sizeof directory);
    if (bytes) memcpy(&directory, bytes, sizeof directory);
    if (!read_path(reader, path)) reader->bad = true;
    working_take(path, &directory, mask);
    read_table(reader, path);
    mount_carry_read(reader);
}
