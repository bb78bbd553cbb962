#include "superblock.h"

#include "../src/bytes.h"
#include "../src/hmac.h"
#include "tree.h"

static const u8 magic[8] = {'C', 'L', 'O', 'I', 'V', 'O', 'L', 'M'};

/* HKDF-SHA-256 with the volume's identifier as salt; one block of output. */
static void derive(u8 made[32], const u8 key[32], const u8 identifier[16], const char *purpose, size_t length) {
    struct hmac hmac;
    u8 extracted[32];
    hmac_start(&hmac, identifier, 16);
    hmac_add(&hmac, key, 32);
    hmac_finish(&hmac, extracted);
    hmac_start(&hmac, extracted, 32);
    hmac_add(&hmac, "cloister volume 1 ", 18);
    hmac_add(&hmac, purpose, length);
    hmac_add(&hmac, (u8[]){1}, 1);
    hmac_finish(&hmac, made);
    wipe(extracted, sizeof extracted);
}

static void tag_of(const u8 key[32], const struct superblock *superblock, u8 tag[32]) {
    struct hmac hmac;
    hmac_start(&hmac, key, 32);
    hmac_add(&hmac, superblock, TAGGED);
    hmac_finish(&hmac, tag);
}

void superblock_derive(struct volume *volume, const u8 key[32]) {
    u8 derived[32];
    derive(derived, key, volume->superblock.identifier, "blocks", 6);
    gcm_init(&volume->gcm, derived);
    wipe(derived, sizeof derived);
    derive(volume->superblock_key, key, volume->superblock.identifier, "superblock", 10);
}

void superblock_write_tag(const struct volume *volume, struct superblock *superblock) {
    memcpy(superblock->magic, magic, sizeof magic);
    superblock->version = 1;
    tag_of(volume->superblock_key, superblock, superblock->tag);
}

void superblock_digest(const struct superblock *superblock, u8 digest[32]) {
    struct sha256 hash;
    sha256_start(&hash);
    sha256_add(&hash, superblock, sizeof *superblock);
    sha256_finish(&hash, digest);
}

static bool is_tagged(const struct volume *volume, const struct superblock *superblock, const u8 *key) {
    u8 derived[32], tag[32];
    if (key) derive(derived, key, superblock->identifier, "superblock", 10);
    else memcpy(derived, volume->superblock_key, sizeof derived);
    tag_of(derived, superblock, tag);
    wipe(derived, sizeof derived);
    return same_secret(tag, superblock->tag, sizeof tag);
}

/* What does not follow from its being authentic: whoever had the key may have written it wrongly. */
static bool is_right(const struct superblock *superblock) {
    bool known = superblock->mode == MODE_ENCRYPTED || superblock->mode == MODE_AUTHENTICATED;
    return known && superblock->blocks >= SUPERBLOCKS && superblock->table_levels == levels_for(superblock->table_size) &&
           superblock->table_levels < LEVELS && superblock->table_size % sizeof(struct inode) == 0;
}

static bool is_committed(const struct volume *volume, const struct superblock *superblock, u32 number, const u8 *key) {
    if (memcmp(superblock->magic, magic, sizeof magic) || superblock->version != 1) return false;
    return is_tagged(volume, superblock, key) && superblock->generation % SUPERBLOCKS == number && is_right(superblock);
}

long superblock_find(struct volume *volume, const u8 *key) {
    struct superblock *read = &volume->other, *newest = &volume->newest;
    bool found = false;
    for (u32 number = 0; number < SUPERBLOCKS; number++) {
        long error = volume->io.read(volume->io.context, number, (u8 *)read);
        if (error == -EBADMSG) continue;
        if (error < 0) return error;
        if (!is_committed(volume, read, number, key)) continue;
        const u8 *expected = found ? newest->identifier : volume->superblock.identifier;
        if ((found || !key) && memcmp(read->identifier, expected, sizeof read->identifier)) return -EBADMSG;
        if (!found || read->generation > newest->generation) *newest = *read;
        found = true;
    }
    return found ? 0 : -EBADMSG;
}

/* The digest says that it is the one; a published one has no tag, so that nobody can put it in the place of a committed one. */
long superblock_read(struct volume *volume, const struct volume_root *wanted) {
    struct superblock *read = &volume->other;
    u8 digest[32];
    long error = volume->io.read(volume->io.context, wanted->place, (u8 *)read);
    if (error < 0) return error;
    superblock_digest(read, digest);
    bool same = !memcmp(digest, wanted->digest, sizeof digest) && read->generation == wanted->generation;
    return same && is_right(read) ? 0 : -EBADMSG;
}

void volume_writer(const struct volume *volume, u8 writer[16]) { memcpy(writer, volume->superblock.writer, sizeof volume->writer); }

void volume_set_writer(struct volume *volume, const u8 writer[16]) { memcpy(volume->writer, writer, sizeof volume->writer); }
