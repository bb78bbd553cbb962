/* Containers that a new image inherits. In a region of memory the key, too: no policy has it. */
#include "mount_carry.h"

#include "mount_arena.h"
#include "reserved.h"

enum { LAST = 0xffffffff };

void mount_carry_write(struct writer *writer, put_bytes *put) {
    const u32 last = LAST;
    for (u32 i = 0; i < MOUNTS_MOST; i++) {
        const struct mount *mount = &mounts_of_process[i];
        if (!mount->arena) continue;
        put(writer, &i, sizeof i);
        put(writer, &mount->container, sizeof mount->container);
        put(writer, mount->key, sizeof mount->key);
    }
    put(writer, &last, sizeof last);
}

void mount_carry_read(struct reader *reader) {
    for (u32 i; (i = read_u32(reader)) != LAST && !reader->bad;) {
        int container = (int)read_u32(reader);
        const u8 *key = read_bytes(reader, KEY_SIZE);
        if (!key || i >= MOUNTS_MOST) {
            reader->bad = true;
            return;
        }
        mounts_of_process[i].container = container;
        memcpy(mounts_of_process[i].key, key, KEY_SIZE);
        reserved_inherit(container);
    }
}
