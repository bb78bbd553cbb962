#include "table.h"

static struct inode *record(struct volume *volume, u32 frame, u64 number) {
    return (struct inode *)(void *)volume->data[frame] + number % INODES_PER_BLOCK;
}

/* As long as it is not known, the record says so. */
static bool is_used(const struct volume *volume, u64 number) {
    if (!volume->walked) return number > 0;
    return number < volume->inode_limit && volume->inode_used[number / 64] >> (number % 64) & 1;
}

long table_read(struct volume *volume, u64 number, struct inode *inode) {
    if (!is_used(volume, number) || (number + 1) * sizeof *inode > volume->superblock.table_size) return -ESTALE;
    long frame = tree_get(volume, TABLE, 0, number / INODES_PER_BLOCK);
    if (frame < 0) return frame;
    *inode = *record(volume, (u32)frame, number);
    return inode->mode ? 0 : -ESTALE;
}

long table_write(struct volume *volume, u64 number, const struct inode *inode) {
    long frame = tree_change(volume, TABLE, number / INODES_PER_BLOCK);
    if (frame < 0) return frame;
    *record(volume, (u32)frame, number) = *inode;
    return 0;
}

static u64 words_known(const struct volume *volume) { return (volume->inodes_known + 63) / 64; }

/* Not what was removed since the last state that may come back: who has it open would then write to another file. */
static u64 find_free(struct volume *volume) {
    for (u64 i = 0; i < volume->inode_limit / 64; i++) {
        u64 word = (volume->next_inode / 64 + i) % (volume->inode_limit / 64), used = volume->inode_used[word] | volume->inode_kept[word];
        if (used == ~0UL) continue;
        return word * 64 + (u64)__builtin_ctzl(~used);
    }
    return 0;
}

long table_new(struct volume *volume, const struct inode *inode) {
    u64 number = find_free(volume), size = (number + 1) * sizeof *inode;
    if (!number) return -ENOSPC;
    if (size > volume->superblock.table_size) {
        long error = tree_resize(volume, TABLE, volume->superblock.table_size, size);
        if (error) return error;
        volume->superblock.table_size = size;
    }
    long error = table_write(volume, number, inode);
    if (error) return error;
    table_claim(volume, number);
    volume->next_inode = number;
    return (long)number;
}

void table_claim(struct volume *volume, u64 number) {
    volume->inode_used[number / 64] |= 1UL << (number % 64);
    if (volume->inodes_known <= number) volume->inodes_known = number + 1;
}

void table_forget(struct volume *volume, bool keep_numbers) {
    if (!keep_numbers) memset(volume->inode_used, 0, words_known(volume) * sizeof(u64));
    if (!keep_numbers) memset(volume->inode_kept, 0, words_known(volume) * sizeof(u64));
    volume->next_inode = 0;
    table_claim(volume, 0); /* is none */
}

void table_keep(struct volume *volume, bool only) {
    for (u64 i = 0; i < words_known(volume); i++) volume->inode_kept[i] = volume->inode_used[i] | (only ? 0 : volume->inode_kept[i]);
}

long table_free(struct volume *volume, u64 number) {
    static const struct inode none;
    long error = table_write(volume, number, &none);
    if (!error) volume->inode_used[number / 64] &= ~(1UL << (number % 64));
    return error;
}

long table_top(struct volume *volume, u64 object, struct top *top) {
    if (object == TABLE) {
        *top = (struct top){volume->superblock.table_levels, volume->superblock.table_root};
        return 0;
    }
    struct inode inode;
    long error = table_read(volume, object, &inode);
    if (!error) *top = (struct top){inode.levels, inode.root};
    return error;
}

long table_set_top(struct volume *volume, u64 object, const struct top *top) {
    if (object == TABLE) {
        volume->superblock.table_levels = top->levels;
        volume->superblock.table_root = top->root;
        return 0;
    }
    struct inode inode;
    long error = table_read(volume, object, &inode);
    if (error) return error;
    inode.levels = top->levels;
    inode.root = top->root;
    return table_write(volume, object, &inode);
}
