/* Program memory that the runtime is about to use in the kernel's stead: a bad pointer must be EFAULT, not a crash. */
#ifndef CLOISTER_ACCESS_H
#define CLOISTER_ACCESS_H

#include "rt.h"

/* Whether the first and last byte of [address, address + length) can be read, or written. At most a page long. */
NODISCARD bool can_read(u64 address, u64 length);
NODISCARD bool can_write(u64 address, u64 length);

#endif
