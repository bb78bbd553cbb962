#include "file_buffer.h"

enum { BUFFERS = 4 };

static u8 buffers[BUFFERS][FILE_BUFFER] BEHIND;
static u32 taken[BUFFERS];

bool file_buffer_has(u64 address, u64 length) {
    u64 offset = address - addr_of(buffers);
    return offset < sizeof buffers && length <= sizeof buffers - offset;
}

u8 *file_buffer_take(u32 *number) {
    for (u32 i = 0; i < BUFFERS; i++) {
        u32 expected = 0;
        *number = i;
        if (__atomic_compare_exchange_n(&taken[i], &expected, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return buffers[i];
    }
    return NULL;
}

void file_buffer_give(u32 number) { __atomic_store_n(&taken[number], 0, __ATOMIC_RELEASE); }
