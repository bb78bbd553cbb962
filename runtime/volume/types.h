/* What every file of the volume engine shares. It needs no libc and no kernel: blocks come and go by struct volume_io. */
#ifndef CLOISTER_VOLUME_TYPES_H
#define CLOISTER_VOLUME_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define NODISCARD __attribute__((warn_unused_result))

void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);

#endif
