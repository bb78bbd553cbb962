/* The gate for a program with libc, which has its own memcpy and memcmp. */
#include <errno.h>
#include <unistd.h>

#include "deferral.h"
#include "rt.h"

long syscall(long number, ...);

long rt_syscall(long number, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f) {
    long result = syscall(number, a, b, c, d, e, f);
    return result < 0 ? -errno : result;
}

struct deferral *deferral_now(void) { return NULL; } /* nothing here is a deferred child */
