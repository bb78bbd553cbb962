/* The records of docs/formats/volume.md, as they stand on the disk. x86-64 is little-endian, as they are. */
#ifndef CLOISTER_VOLUME_FORMAT_H
#define CLOISTER_VOLUME_FORMAT_H

#include "types.h"

enum {
    BLOCK = 4096, FANOUT = 128, FANOUT_BITS = 7, SUPERBLOCKS = 2, TABLE = 0, ROOT_INODE = 1, NAME_LONGEST = 255,
    LEVELS = 6,                  /* 128^5 blocks of 4 KiB are more than numbers of 32 bits can count */
    TYPE_MASK = 0170000, DIRECTORY = 0040000, REGULAR = 0100000, LINK = 0120000,
    MODE_ENCRYPTED = 1, MODE_AUTHENTICATED = 2,
};

struct pointer {
    u32 physical;
    u8 nonce[12], tag[16];
};

struct place {
    u64 object, index, level;
};

struct inode {
    u32 mode, links, uid, gid;
    u64 size, mtime, ctime, parent;
    u32 levels;
    u8 zero_52[12];
    struct pointer root;
    u8 zero_96[32];
};

struct superblock {
    u8 magic[8];
    u32 version, mode;
    u8 identifier[16];
    u64 generation, blocks, table_size;
    u32 table_levels, zero_60;
    struct pointer table_root;
    u8 writer[16], zero_112[3952], tag[32];
};

struct entry {
    u32 inode;
    u16 length;
    u8 name_length, zero_7;
    u8 name[];
};

enum { INODES_PER_BLOCK = BLOCK / sizeof(struct inode), ENTRY_START = sizeof(struct entry), TAGGED = BLOCK - 32 };
_Static_assert(sizeof(struct pointer) == 32 && sizeof(struct inode) == 128 && sizeof(struct superblock) == BLOCK, "docs/formats/volume.md");

#endif
