/* Which of three answers an open gets: the content of an injected file, a sealed copy of a measured one, or the kernel's. */
#include "opening.h"

#include <linux/fcntl.h>

#include "access.h"
#include "admission.h"
#include "files.h"
#include "learn.h"

enum { RESOLVE_IN_DIRECTORY = 0x10 /* RESOLVE_IN_ROOT */ };

struct how { /* struct open_how */
    u64 flags, mode, resolve;
};

struct opening {
    int directory;
    const char *path; /* in the program's memory */
    u64 flags;
    bool confined; /* the directory stands for the root */
};

/* Not on the stack: a signal stack may be small. Owned by whoever holds the lock. */
static char given[PATH_SIZE] BEHIND, full[PATH_SIZE] BEHIND;

static long read_call(const struct call *call, struct opening *out) {
    const u64 *a = call->arg;
    bool at_form = call->number == __NR_openat || call->number == __NR_openat2;
    *out = (struct opening){.directory = at_form ? (int)a[0] : AT_HERE, .path = ptr_of(at_form ? a[1] : a[0])};
    if (call->number == __NR_open) out->flags = a[1];
    if (call->number == __NR_creat) out->flags = O_CREAT | O_WRONLY | O_TRUNC;
    if (call->number == __NR_openat) out->flags = a[2];
    if (call->number != __NR_openat2) return 0;
    const struct how *how = ptr_of(a[2]);
    if (a[3] < sizeof *how) return -EINVAL;
    if (!can_read(a[2], sizeof *how)) return -EFAULT;
    out->flags = how->flags;
    if (opening_is_marked(out->flags)) return -EINVAL;
    out->confined = how->resolve & RESOLVE_IN_DIRECTORY;
    return 0;
}

/* Copies the path out of the program's memory, page by page: a bad pointer must be EFAULT, not a crash. */
static long copy_path(const char *from) {
    for (size_t i = 0; i < PATH_SIZE; i++) {
        if ((i == 0 || addr_of(from + i) % PAGE == 0) && !can_read(addr_of(from + i), 1)) return -EFAULT;
        given[i] = from[i];
        if (!given[i]) return 0;
    }
    return -ENAMETOOLONG;
}

/* A path that cannot be told may be a measured one, so it is not opened: a file's content would come in unmeasured. */
static long find(const struct opening *open) {
    long error = copy_path(open->path);
    if (failed(error)) return error;
    if (!given[0]) return -ENOENT;
    const char *path = given;
    while (open->confined && *path == '/') path++;
    if (!path_normalise(open->directory, path, full, sizeof full)) return state.manifest.size ? -EACCES : NOT_LISTED;
    long fd = state.files_watched ? files_open(full, open->flags) : NOT_INJECTED;
    return fd == NOT_INJECTED ? admission_open(full, open->flags) : fd;
}

/* The kernel cannot do direct I/O into secret pages (EFAULT); buffered I/O reads and writes the same bytes. */
static void make_buffered(struct call *call) {
    u64 *flags = call->number == __NR_open ? &call->arg[1] : call->number == __NR_openat ? &call->arg[2] : NULL;
    if (!flags) return;
    *flags &= ~(u64)O_DIRECT;
    if (opening_is_marked(*flags)) *flags &= ~(u64)O_SYNC;
}

/* An open may wait, for the other end of a FIFO or a lease: not with signals blocked, and not with the lock held. */
static long natively(struct call *call, bool *replayed) {
    const u64 *a = call->arg;
    make_buffered(call);
    if (!call->frame || !opening_is_watched()) return SYS4((long)call->number, a[0], a[1], a[2], a[3]);
    call_replay(call, a, -1, NULL, 0);
    *replayed = true;
    return 0;
}

static long natively_and_learn(struct call *call, const struct opening *open) {
    struct lock_guard lock;
    const u64 *a = call->arg;
    make_buffered(call);
    long fd = SYS4((long)call->number, a[0], a[1], a[2], a[3]);
    if (failed(fd)) return fd;
    lock_take(&lock, call->frame != NULL);
    if (!failed(copy_path(open->path)) && path_normalise(open->directory, given, full, sizeof full))
        learn_opened(full, open->flags, (int)fd);
    lock_give(&lock);
    return fd;
}

long opening_call(struct call *call, bool *replayed) {
    struct opening open;
    struct lock_guard lock;
    if (!opening_is_watched()) return natively(call, replayed);
    long result = read_call(call, &open);
    if (failed(result)) return result;
    if (state.learn[0] && !state.manifest.size) return natively_and_learn(call, &open);
    lock_take(&lock, call->frame != NULL);
    result = find(&open);
    lock_give(&lock);
    return result == NOT_LISTED ? natively(call, replayed) : result;
}
