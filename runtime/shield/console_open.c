/* What the program opens may be the console again: /dev/tty, /dev/stdin, /proc/self/fd/1. Whether it is, what was opened says: a path
 * has many names. Where the standard streams are sockets, the kernel cannot open them again, and a copy is made. */
#include <asm/ioctls.h>
#include <asm/stat.h>
#include <linux/fcntl.h>

#include "console.h"
#include "open_again.h"
#include "table.h"

enum { TYPE = 0170000, CHARACTERS = 0020000 };

/* /dev/tty, too, says which terminal it leads to. */
u32 console_device_of(int fd) {
    struct stat found;
    u32 device = 0;
    if (failed(SYS2(__NR_fstat, fd, &found)) || (found.st_mode & TYPE) != CHARACTERS) return 0;
    return failed(SYS3(__NR_ioctl, fd, TIOCGDEV, &device)) ? 0 : device;
}

static long put(long fd, u64 end) {
    struct lock_guard lock;
    const struct shielded entry = {.kind = SHIELD_CONSOLE, .object = end};
    lock_take(&lock, false);
    long error = table_put((u64)fd, &entry);
    lock_give(&lock);
    if (!failed(error)) return fd;
    SYS1(__NR_close, fd);
    return error;
}

static long copy_stream(const struct call *call) {
    struct shielded entry;
    long number = open_again_number(call);
    if (number < 0 || !table_get((u64)number, &entry) || entry.kind != SHIELD_CONSOLE) return -ENXIO;
    long fd = SYS3(__NR_fcntl, number, open_again_closes_on_exec(call) ? F_DUPFD_CLOEXEC : F_DUPFD, 0);
    return failed(fd) ? fd : put(fd, entry.object);
}

long console_open(struct call *call, long result) {
    if (result == SHIELD_PASS) result = open_again_now(call);
    if (result == -ENXIO) return copy_stream(call);
    if (failed(result) || !console.device || console_device_of((int)result) != console.device) return result;
    return put(result, END_TERMINAL);
}
