/* A program that gives up root also gives up CAP_IPC_LOCK, and with it the right to more secret memory, unless the limit of
 * locked memory could be lifted (state.memory_limited says it could not: a container without CAP_SYS_RESOURCE). Then this one
 * capability is kept through setuid(2) and its kind, and through capset(2); all others go as the kernel would have them go
 * (capabilities(7)). */
#include <linux/capability.h>
#include <linux/prctl.h>

#include "access.h"
#include "call.h"

struct capability_sets {
    struct __user_cap_data_struct half[2];
};

static struct __user_cap_header_struct own_header(void) {
    return (struct __user_cap_header_struct){.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
}

static bool root_is_gone(void) {
    u32 real, effective, saved;
    SYS3(__NR_getresuid, &real, &effective, &saved);
    return real && effective && saved;
}

enum { LOCK = 1 << CAP_IPC_LOCK };

static void raise_through_exec(void) { SYS5(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_IPC_LOCK, 0, 0); }

static void keep_lock_capability(void) {
    struct __user_cap_header_struct header = own_header();
    struct capability_sets sets;
    u32 lock = LOCK;
    if (failed(SYS2(__NR_capget, &header, &sets)) || !(sets.half[0].permitted & lock)) return;
    if (root_is_gone()) sets = (struct capability_sets){.half = {{.permitted = lock}}};
    sets.half[0].effective |= lock;
    sets.half[0].inheritable |= lock;
    SYS2(__NR_capset, &header, &sets);
    raise_through_exec();
}

long identity_change(struct call *call) {
    const u64 *a = call->arg;
    if (SYS1(__NR_prctl, PR_GET_KEEPCAPS) == 1) return SYS3((long)call->number, a[0], a[1], a[2]); /* the program keeps its own */
    SYS2(__NR_prctl, PR_SET_KEEPCAPS, 1);
    long result = SYS3((long)call->number, a[0], a[1], a[2]);
    if (!failed(result)) keep_lock_capability();
    SYS2(__NR_prctl, PR_SET_KEEPCAPS, 0);
    return result;
}

static bool holds_lock(void) {
    struct __user_cap_header_struct header = own_header();
    struct capability_sets sets;
    return !failed(SYS2(__NR_capget, &header, &sets)) && sets.half[0].permitted & LOCK;
}

static size_t sets_size(u32 version) {
    if (version == _LINUX_CAPABILITY_VERSION_1) return sizeof(struct __user_cap_data_struct);
    bool whole = version == _LINUX_CAPABILITY_VERSION_2 || version == _LINUX_CAPABILITY_VERSION_3;
    return whole ? sizeof(struct capability_sets) : 0;
}

/* What the kernel would refuse goes to it as it is. */
long capability_change(struct call *call) {
    const struct __user_cap_header_struct *theirs = ptr_of(call->arg[0]);
    if (!can_read(addr_of(theirs), sizeof *theirs)) return -EFAULT;
    struct __user_cap_header_struct header = *theirs;
    size_t size = sets_size(header.version);
    bool plain = !size || !can_read(call->arg[1], size) || !holds_lock();
    if (plain) return SYS2(__NR_capset, call->arg[0], call->arg[1]);
    struct capability_sets sets = {0};
    memcpy(&sets, ptr_of(call->arg[1]), size);
    u32 inheritable = sets.half[0].inheritable;
    sets.half[0].permitted |= LOCK;
    sets.half[0].effective |= LOCK;
    sets.half[0].inheritable |= LOCK;
    long result = SYS2(__NR_capset, &header, &sets);
    if (result == -EPERM) { /* not in the bounding set, for one */
        sets.half[0].inheritable = inheritable;
        result = SYS2(__NR_capset, &header, &sets);
    }
    if (!failed(result)) raise_through_exec();
    return result;
}
