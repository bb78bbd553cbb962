/* The memory-management system calls, as the program sees them. All are called with the lock held and return what the kernel
 * would: an address, 0, or -errno. mmap(2), munmap(2), mprotect(2), mremap(2), madvise(2), brk(2), msync(2), mincore(2). */
#ifndef CLOISTER_MEMORY_H
#define CLOISTER_MEMORY_H

#include "areas.h"

NODISCARD long memory_map(u64 address, u64 length, int protection, int flags, int fd, u64 offset);
NODISCARD long memory_unmap(u64 address, u64 length);
NODISCARD long memory_protect(u64 address, u64 length, int protection);
NODISCARD long memory_remap(u64 old, u64 old_length, u64 new_length, int flags, u64 target);
NODISCARD long memory_advise(u64 address, u64 length, int advice);
NODISCARD long memory_residency(u64 address, u64 length, u64 vector);
NODISCARD long memory_sync(u64 address, u64 length, int flags);
NODISCARD long memory_break(u64 address);
NODISCARD long memory_start_break(void);
u64 memory_break_rest(void); /* what the heap may still grow by */

#endif
