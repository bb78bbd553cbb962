#include "region.h"

#include <linux/mman.h>

#include "areas.h"
#include "state.h"

long region_create(struct region *region, u64 size) {
    long at = secret_map(0, page_up(max_u64(size, 1)), PROT_READ | PROT_WRITE, 0);
    if (failed(at)) return at;
    areas_put((u64)at, (u64)at + page_up(max_u64(size, 1)), AREA_SECRET, PROT_READ | PROT_WRITE);
    *region = (struct region){.at = (u64)at, .size = size};
    return 0;
}

void region_drop(struct region *region) {
    u64 length = page_up(max_u64(region->size, 1));
    if (!region->at) return;
    secret_wipe(region->at, length, state.residency);
    SYS2(__NR_munmap, region->at, length);
    areas_drop(region->at, region->at + length);
    *region = (struct region){0};
}

struct reader region_read(const struct region *region) {
    const u8 *at = ptr_of(region->at);
    return (struct reader){.at = at, .end = at + region->size};
}

const u8 *read_bytes(struct reader *reader, u64 size) {
    if (reader->bad || size > (u64)(reader->end - reader->at)) {
        reader->bad = true;
        return NULL;
    }
    const u8 *found = reader->at;
    reader->at += size;
    return found;
}

u32 read_u32(struct reader *reader) {
    u32 value = 0;
    const u8 *bytes = read_bytes(reader, sizeof value);
    if (bytes) memcpy(&value, bytes, sizeof value);
    return value;
}

const char *read_text(struct reader *reader, u32 *size) {
    *size = read_u32(reader);
    const u8 *bytes = read_bytes(reader, *size);
    if (!bytes) *size = 0;
    return (const char *)bytes;
}
