#include "kept_path.h"

#include <linux/errno.h>

enum { PATHS = 16384, ROOM = 1 << 20 };

static struct kept {
    u32 users, hash, at; /* at: of its head in `room` */
} kept[PATHS] BEHIND;    /* number - 1 */
static u32 count;        /* one behind the highest that is used */

/* Before each text in `room`, which are packed when there is no more. */
struct head {
    u32 number, size; /* size: with the zero, and what aligns the next head */
};

static u8 room[ROOM] BEHIND __attribute__((aligned(8)));
static u32 used;

static u32 hash_of(const char *path) {
    u32 hash = 2166136261;
    for (; *path; path++) hash = (hash ^ (u8)*path) * 16777619;
    return hash;
}

static struct head *head_at(u32 at) { return (struct head *)(void *)(room + at); }
static const char *text_of(const struct kept *one) { return (const char *)(room + one->at + sizeof(struct head)); }

static bool is_in_use(const struct head *head, u32 at) {
    const struct kept *one = &kept[head->number - 1];
    return one->users && one->at == at;
}

static void pack(void) {
    u32 to = 0;
    for (u32 at = 0, size; at < used; at += size) {
        size = head_at(at)->size;
        if (!is_in_use(head_at(at), at)) continue;
        kept[head_at(at)->number - 1].at = to;
        for (u32 i = 0; to != at && i < size; i += 8) memcpy(room + to + i, room + at + i, 8); /* they may overlap */
        to += size;
    }
    used = to;
}

static long find(const char *path, u32 hash) {
    for (u32 i = 0; i < count; i++)
        if (kept[i].users && kept[i].hash == hash && same_string(text_of(&kept[i]), path)) return i;
    return -1;
}

static u32 free_number(void) {
    while (count && !kept[count - 1].users) count--;
    for (u32 i = 0; i < count; i++)
        if (!kept[i].users) return i;
    return count;
}

long kept_path_put(const char *path) {
    u32 hash = hash_of(path), size = (u32)(sizeof(struct head) + strlen(path) + 1 + 7) / 8 * 8;
    long found = find(path, hash);
    if (found >= 0) return found + 1;
    u32 number = free_number();
    if (used + size > ROOM) pack();
    if (number == PATHS || used + size > ROOM) return -EMFILE;
    kept[number] = (struct kept){.hash = hash, .at = used};
    *head_at(used) = (struct head){number + 1, size};
    memcpy(room + used + sizeof(struct head), path, strlen(path) + 1);
    used += size;
    if (number == count) count++;
    return number + 1;
}

const char *kept_path_text(u32 number) { return number ? text_of(&kept[number - 1]) : ""; }

void kept_path_use(u32 number) {
    if (number) __atomic_add_fetch(&kept[number - 1].users, 1, __ATOMIC_RELAXED);
}

void kept_path_give(u32 number) {
    if (number) __atomic_sub_fetch(&kept[number - 1].users, 1, __ATOMIC_RELAXED);
}
