#include "tree.h"

#include "order.h"
#include "store.h"
#include "table.h"

u32 levels_for(u64 size) {
    u64 blocks = size / BLOCK + (size % BLOCK != 0);
    u32 levels = 0;
    while (levels < LEVELS && blocks > 1UL << (FANOUT_BITS * levels)) levels++;
    return levels;
}

static struct pointer *slot(struct volume *volume, u32 node, u64 index) {
    return (struct pointer *)(void *)volume->data[node] + index % FANOUT;
}

long tree_pointer(struct volume *volume, const struct top *top, u64 object, u32 level, u64 index, struct pointer *pointer) {
    if (level == top->levels) {
        *pointer = top->root;
        return index ? -EBADMSG : 0;
    }
    long node = tree_get(volume, object, level + 1, index / FANOUT);
    if (node >= 0) *pointer = *slot(volume, (u32)node, index);
    return node < 0 ? node : 0;
}

static long write_pointer(struct volume *volume, struct top *top, u64 object, u32 level, u64 index, const struct pointer *pointer) {
    if (level == top->levels) {
        top->root = *pointer;
        return table_set_top(volume, object, top);
    }
    long node = tree_get(volume, object, level + 1, index / FANOUT);
    if (node < 0) return node;
    *slot(volume, (u32)node, index) = *pointer;
    cache_dirty(volume, (u32)node);
    return 0;
}

long tree_get(struct volume *volume, u64 object, u32 level, u64 index) {
    u32 found = cache_find(volume, object, level, index);
    if (found != NO_FRAME) return found;
    struct pointer pointer;
    struct top top;
    long error = table_top(volume, object, &top);
    if (!error && level > top.levels) error = -EBADMSG;
    if (!error) error = tree_pointer(volume, &top, object, level, index, &pointer);
    if (error) return error;
    u32 frame = cache_take(volume, object, level, index);
    error = store_load(volume, &pointer, (struct place){object, index, level}, volume->data[frame]);
    if (!error) return frame;
    cache_drop(volume, frame);
    return error;
}

long tree_change(struct volume *volume, u64 object, u64 index) {
    long frame = tree_get(volume, object, 0, index);
    if (frame >= 0) cache_dirty(volume, (u32)frame);
    return frame;
}

/* One level more: a new node whose first child is what was the root. */
static long grow(struct volume *volume, u64 object, struct top *top) {
    bool empty = !top->root.physical && cache_find(volume, object, top->levels, 0) == NO_FRAME;
    struct pointer root = top->root;
    top->levels++;
    top->root = (struct pointer){0};
    long error = table_set_top(volume, object, top);
    if (error || empty) return error;
    u32 frame = cache_take(volume, object, top->levels, 0);
    memset(volume->data[frame], 0, BLOCK);
    *slot(volume, frame, 0) = root;
    cache_dirty(volume, frame);
    return 0;
}

/* One level less: the root's first child becomes the root. */
static long shrink(struct volume *volume, u64 object, struct top *top) {
    long frame = tree_get(volume, object, top->levels, 0);
    if (frame < 0) return frame;
    struct pointer child = *slot(volume, (u32)frame, 0);
    cache_drop(volume, (u32)frame);
    store_free(volume, &top->root);
    top->levels--;
    top->root = child;
    return table_set_top(volume, object, top);
}

/* Frees the blocks of a subtree that lie at or behind data block `kept`, children first. */
static long cut(struct volume *volume, struct top *top, u64 object, u32 level, u64 index, u64 kept) {
    struct pointer pointer;
    long error = tree_pointer(volume, top, object, level, index, &pointer);
    if (error) return error;
    u32 width = FANOUT_BITS * level, cached = cache_find(volume, object, level, index);
    if (!pointer.physical && cached == NO_FRAME) return 0; /* nothing that was ever written; drop_behind does the rest */
    for (u64 child = level ? 0 : FANOUT; child < FANOUT; child++) {
        u64 at = index * FANOUT + child;
        if ((at + 1) << (width - FANOUT_BITS) <= kept) continue;
        error = cut(volume, top, object, level - 1, at, kept);
        if (error) return error;
    }
    if (index << width < kept) return 0;
    cached = cache_find(volume, object, level, index);
    if (cached != NO_FRAME) cache_drop(volume, cached);
    store_free(volume, &pointer);
    static const struct pointer hole;
    return pointer.physical ? write_pointer(volume, top, object, level, index, &hole) : 0;
}

/* What was dirty under holes that were never written. */
static void drop_behind(struct volume *volume, u64 object, u64 kept) {
    for (u32 at = 0; at < volume->frames_touched; at++) {
        const struct frame *frame = &volume->frames[at];
        if (frame->used && frame->object == object && frame->index << (FANOUT_BITS * frame->level) >= kept) cache_drop(volume, at);
    }
}

long tree_resize(struct volume *volume, u64 object, u64 old_size, u64 size) {
    struct top top;
    long error = table_top(volume, object, &top);
    u64 kept = size / BLOCK + (size % BLOCK != 0);
    if (!error && size < old_size) {
        error = cut(volume, &top, object, top.levels, 0, kept);
        if (!error) drop_behind(volume, object, kept);
    }
    while (!error && top.levels > levels_for(size)) error = shrink(volume, object, &top);
    while (!error && top.levels < levels_for(size)) error = grow(volume, object, &top);
    return error;
}

static long flush_frame(struct volume *volume, u32 at) {
    const struct frame frame = volume->frames[at];
    struct pointer pointer;
    struct top top;
    long error = table_top(volume, frame.object, &top);
    if (!error) error = tree_pointer(volume, &top, frame.object, frame.level, frame.index, &pointer);
    if (error) return error;
    struct pointer before = pointer;
    error = store_save(volume, &pointer, (struct place){frame.object, frame.index, frame.level}, volume->data[at]);
    if (!error && memcmp(&before, &pointer, sizeof pointer))
        error = write_pointer(volume, &top, frame.object, frame.level, frame.index, &pointer);
    if (!error) cache_clean(volume, at);
    return error;
}

long tree_flush(struct volume *volume) {
    for (u32 list = 0; list < DIRTY_LISTS; list++) {
        order_dirty(volume, list);
        while (volume->dirty_first[list] != NO_FRAME) {
            long error = flush_frame(volume, volume->dirty_first[list]);
            if (error) return error;
        }
    }
    return 0;
}
