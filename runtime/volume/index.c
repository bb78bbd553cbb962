#include "index.h"

static const u32 gone = ~0U;

static u64 hash_of(u64 directory, struct name name) {
    u64 hash = 0xcbf29ce484222325UL ^ directory * 0x9e3779b97f4a7c15UL;
    for (size_t i = 0; i < name.length; i++) hash = (hash ^ name.bytes[i]) * 0x100000001b3UL;
    return hash ^ hash >> 29;
}

static u32 tag_of(u64 hash) { return (u32)(hash >> 32); }

static struct indexed *find(const struct volume *volume, u64 directory) {
    for (u32 i = 0; i < INDEXED; i++)
        if (volume->indexed[i].directory == directory) return (struct indexed *)&volume->indexed[i];
    return NULL;
}

void index_forget(struct volume *volume) {
    if (volume->index_used) memset(volume->index, 0, (volume->index_mask + 1UL) * sizeof *volume->index);
    memset(volume->indexed, 0, sizeof volume->indexed);
    volume->index_used = volume->index_next = 0;
    volume->index_wanted = volume->index_refused = 0;
}

void index_drop(struct volume *volume, u64 directory) {
    struct indexed *indexed = find(volume, directory);
    if (indexed) indexed->directory = 0;
}

bool index_has(const struct volume *volume, u64 directory) { return find(volume, directory); }

/* Who looks for one name only does not want all of them. */
bool index_begin(struct volume *volume, u64 directory) {
    bool again = volume->index_wanted == directory;
    volume->index_wanted = directory;
    if (!again || volume->index_refused == directory) return false;
    volume->indexed[volume->index_next] = (struct indexed){.directory = directory};
    volume->index_next = (volume->index_next + 1) % INDEXED;
    return true;
}

void index_add(struct volume *volume, u64 directory, struct name name, u64 block) {
    u64 hash = hash_of(directory, name), at = hash & volume->index_mask;
    if (!find(volume, directory)) return;
    if (volume->index_used >= volume->index_mask - volume->index_mask / 4) {
        index_forget(volume);
        volume->index_refused = directory;
        return;
    }
    while (volume->index[at].block && volume->index[at].block != gone) at = (at + 1) & volume->index_mask;
    if (!volume->index[at].block) volume->index_used++;
    volume->index[at] = (struct index_slot){tag_of(hash), (u32)block + 1};
}

long index_next(const struct volume *volume, u64 directory, struct name name, u64 *at) {
    u64 hash = hash_of(directory, name);
    for (;; (*at)++) {
        const struct index_slot *slot = &volume->index[(hash + *at) & volume->index_mask];
        if (!slot->block) return -1;
        if (slot->block == gone || slot->tag != tag_of(hash)) continue;
        (*at)++;
        return slot->block - 1;
    }
}

void index_remove(struct volume *volume, u64 directory, struct name name, u64 block) {
    u64 hash = hash_of(directory, name);
    struct indexed *indexed = find(volume, directory);
    if (!indexed) return;
    if (block < indexed->room) indexed->room = block;
    for (u64 at = hash;; at++) {
        struct index_slot *slot = &volume->index[at & volume->index_mask];
        if (!slot->block) return;
        if (slot->tag != tag_of(hash) || slot->block != block + 1) continue;
        slot->block = gone;
        return;
    }
}

u64 index_room(const struct volume *volume, u64 directory) {
    const struct indexed *indexed = find(volume, directory);
    return indexed ? indexed->room : 0;
}

void index_set_room(struct volume *volume, u64 directory, u64 block) {
    struct indexed *indexed = find(volume, directory);
    if (indexed) indexed->room = block;
}
