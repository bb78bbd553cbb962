#include "ledger.h"

#include <linux/fcntl.h>
#include <linux/memfd.h>

#include "descriptors.h"
#include "fail.h"
#include "reserved.h"

enum { LINK_SIZE = 40, SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

static int known; /* its number and 1: what the runtime can write begins as zeros */

void ledger_begin(int inherited) {
    if (inherited >= 0) {
        known = inherited + 1;
        reserved_inherit(inherited);
        return;
    }
    long fd = reserved_keep(open_beyond_limit(__NR_memfd_create, addr_of("cloister-ledger"), MFD_CLOEXEC | MFD_ALLOW_SEALING));
    long error = failed(fd) ? fd : SYS3(__NR_fcntl, fd, F_ADD_SEALS, SEALS);
    if (failed(error)) fail(CLOISTER_EXIT_CANNOT_PROTECT, "no descriptor for shielded files (memfd_create)", error, "raise ulimit -n");
    known = (int)fd + 1;
}

int ledger_number(void) { return known - 1; }

bool ledger_is(int fd) { return known && is_same_file(ledger_number(), fd); }

long ledger_open(u64 flags) {
    char link[LINK_SIZE];
    const u64 kept = O_APPEND | O_NONBLOCK | O_CLOEXEC;
    append_number(link, append(link, 0, LINK_SIZE, "/proc/self/fd/"), LINK_SIZE, (u64)ledger_number());
    long fd = SYS2(__NR_open, link, O_RDWR | (flags & kept));
    if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM) return fd;
    if (failed(fd)) return -EIO;
    if (ledger_is((int)fd)) return fd;
    SYS1(__NR_close, fd); /* somebody covered /proc */
    return -EIO;
}
