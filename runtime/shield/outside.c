#include "outside.h"

#include <linux/sched.h>

#include "location.h"
#include "table.h"

/* Newer than the headers that this may be built with. */
enum { QUOTACTL_FD = 443, SETXATTRAT = 463, GETXATTRAT, LISTXATTRAT, REMOVEXATTRAT, OPEN_TREE_ATTR, FILE_GETATTR, FILE_SETATTR };

enum { DONT_FOLLOW = 0x02000000 /* IN_DONT_FOLLOW */ };

/* What is known by a descriptor, whichever kind is shielded. */
static long by_descriptor(const struct call *call) {
    switch (call->number) {
    case __NR_vmsplice: return table_has((u32)call->arg[0]) ? -EBADF : SHIELD_PASS; /* the runtime would write it as it is */
    case __NR_pidfd_getfd: return -EPERM; /* the copy would lead past the shields, as others' do (LIMITATIONS.md) */
    default: return call->arg[0] & CLONE_FILES ? -EPERM : SHIELD_PASS; /* one table for all threads */
    }
}

static long by_files(const struct call *call) {
    switch (call->number) {
    case __NR_unshare: return call->arg[0] & CLONE_FS ? -EPERM : SHIELD_PASS; /* one working directory for all threads */
    case __NR_setns: return !call->arg[1] || call->arg[1] & CLONE_NEWNS ? -EPERM : SHIELD_PASS;
    case __NR_mq_open:
    case __NR_mq_unlink:
    case __NR_msgget:
    case __NR_add_key:
    case __NR_request_key:
    case __NR_keyctl: return policy.strict ? -EACCES : SHIELD_PASS; /* the kernel keeps the bytes, and root reads them */
    case __NR_memfd_create: return policy.strict ? -ENOSYS : SHIELD_PASS; /* the same; callers know kernels without */
    case __NR_name_to_handle_at:
    case __NR_open_by_handle_at: return -EOPNOTSUPP;
    case SETXATTRAT:
    case GETXATTRAT:
    case LISTXATTRAT:
    case REMOVEXATTRAT:
    case OPEN_TREE_ATTR:
    case FILE_GETATTR:
    case FILE_SETATTR:
    case QUOTACTL_FD: return -ENOSYS; /* callers know kernels without */
    default: return -EPERM; /* mount(2) and its kind, swapon(2), acct(2), bpf(2) */
    }
}

long outside_call(const struct call *call) {
    bool is_of_descriptor = call->number == __NR_vmsplice || call->number == __NR_pidfd_getfd || call->number == __NR_unshare;
    long result = is_of_descriptor ? by_descriptor(call) : SHIELD_PASS;
    if (result != SHIELD_PASS || !policy.files_count) return result;
    return is_of_descriptor && call->number != __NR_unshare ? SHIELD_PASS : by_files(call);
}

/* The kernel would watch what the host has there: for ever in vain. No room for more watches is what programs are ready for. */
long outside_watch(struct call *call) {
    struct location location;
    long result = location_enter(&location, AT_HERE, call->arg[1], call->arg[2] & DONT_FOLLOW ? 0 : LOCATION_FOLLOW);
    if (result == SHIELD_PASS) call->arg[1] = location.native;
    return result ? result : location_leave(&location, -ENOSPC);
}
