/* Bytes that the runtime keeps in secret memory beside its own state: what was provisioned. The areas know them, so fork copies them. */
#ifndef CLOISTER_REGION_H
#define CLOISTER_REGION_H

#include "rt.h"

struct region {
    u64 at, size; /* size 0: there is none */
};

/* What is read of a region, front to back. `bad` says that something did not fit; nothing read after that counts. */
struct reader {
    const u8 *at, *end;
    bool bad;
};

NODISCARD long region_create(struct region *region, u64 size); /* 0 or -errno; zeroed and writable */
void region_drop(struct region *region); /* wiped and unmapped */
struct reader region_read(const struct region *region);
u32 read_u32(struct reader *reader);
const u8 *read_bytes(struct reader *reader, u64 size); /* NULL and `bad` if there are not so many */
/* A u32 length and the bytes. Sets *size. */
const char *read_text(struct reader *reader, u32 *size);

#endif
