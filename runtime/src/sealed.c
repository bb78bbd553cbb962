#include "sealed.h"

#include <linux/fcntl.h>
#include <linux/memfd.h>

#include "descriptors.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3 */
#endif

long sealed_create(u64 size) {
    u64 name = addr_of(CLOISTER_MEMFD_TEXT);
    long fd = open_beyond_limit(__NR_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
    if (fd == -EINVAL) fd = open_beyond_limit(__NR_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (failed(fd)) return fd;
    long error = SYS2(__NR_ftruncate, fd, size);
    if (!failed(error)) return fd;
    SYS1(__NR_close, fd);
    return error;
}

long sealed_finish(long fd) {
    return SYS3(__NR_fcntl, fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
}
