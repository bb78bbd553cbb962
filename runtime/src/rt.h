/* What every file of the runtime shares: types, page arithmetic, the one system-call gate. */
#ifndef CLOISTER_RT_H
#define CLOISTER_RT_H

#include <asm/unistd_64.h>
#include <linux/errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cloister_abi.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define PAGE 4096UL
#define ADDRESS_LIMIT (1UL << 47) /* of programs, on x86-64 */
/* Large, or seldom used: stands behind the rest (Makefile: --sort-section), so that what every start touches shares few pages. */
#define BEHIND __attribute__((section(".bss.z")))
#define AFTER_SMALL(order) __attribute__((section(".bss." order)))
#define NODISCARD __attribute__((warn_unused_result))

static inline u64 page_up(u64 value) { return (value + PAGE - 1) & ~(PAGE - 1); }
static inline u64 page_down(u64 value) { return value & ~(PAGE - 1); }
static inline bool failed(long result) { return result < 0 && result >= -4095; }
static inline u64 min_u64(u64 a, u64 b) { return a < b ? a : b; }
static inline u64 max_u64(u64 a, u64 b) { return a > b ? a : b; }
static inline u64 addr_of(const void *pointer) { return (u64)(uintptr_t)pointer; }
static inline void *ptr_of(u64 address) { return (void *)(uintptr_t)address; }

/* entry.S: the only instruction sequences that may enter the kernel; the seccomp filter exempts exactly them. */
extern const char gate_start[], gate_end[];
long rt_syscall(long number, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f);

#define SYS6(nr, a, b, c, d, e, f) \
    rt_syscall((nr), (u64)(a), (u64)(b), (u64)(c), (u64)(d), (u64)(e), (u64)(f))
#define SYS5(nr, a, b, c, d, e) SYS6(nr, a, b, c, d, e, 0)
#define SYS4(nr, a, b, c, d) SYS6(nr, a, b, c, d, 0, 0)
#define SYS3(nr, a, b, c) SYS6(nr, a, b, c, 0, 0, 0)
#define SYS2(nr, a, b) SYS6(nr, a, b, 0, 0, 0, 0)
#define SYS1(nr, a) SYS6(nr, a, 0, 0, 0, 0, 0)
#define SYS0(nr) SYS6(nr, 0, 0, 0, 0, 0, 0)

/* Kernel ABI constants that its headers hide behind libc's. */
enum {
    AT_HERE = -100, AT_EMPTY = 0x1000, AT_EFFECTIVE = 0x200,
    READ_ONLY = 0, WRITE_ONLY = 1, CREATE = 0100, APPEND = 02000, CLOSE_ON_EXEC = 02000000,
};

void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
bool same_string(const char *a, const char *b);
bool starts_with(const char *s, const char *prefix);
size_t append(char *to, size_t at, size_t size, const char *s);
size_t append_number(char *to, size_t at, size_t size, u64 value);
size_t copy_bounded(char *to, size_t size, const char *from);

#endif
