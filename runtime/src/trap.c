/* Where intercepted system calls arrive: by SIGSYS from the filter, or from a patched site. */
#include <linux/fcntl.h>
#include <linux/mman.h>

#include "../shield/shield.h"
#include "admission.h"
#include "call.h"
#include "deferral.h"
#include "farewell.h"
#include "files.h"
#include "memory.h"
#include "observer.h"
#include "opening.h"
#include "recall.h"
#include "state.h"

extern const char rt_replay[];

enum { SHM_EXECUTE = 0100000 /* SHM_EXEC */, SHM_OVER = 040000 /* SHM_REMAP */, SYS_SECCOMP_CODE = 1, SYS_DISPATCH_CODE = 2 /* SYS_USER_DISPATCH */, RED_ZONE = 128, REPLAY_DATA = 32, STACK_OF_EXECUTE = 16 << 10 };

/* What rt_replay (entry.S) finds on the stack. */
struct replay_frame {
    u64 rdi, rsi, rdx, r10, r8, r9;
    u8 data[REPLAY_DATA];
    u64 back;
};
_Static_assert(offsetof(struct replay_frame, back) == 80, "entry.S steps over the arguments and data");

void call_replay(struct call *call, const u64 arg[6], int data_arg, const void *data, size_t data_size) {
    struct trap_frame *f = call->frame;
    struct replay_frame *replay = ptr_of(f->rsp - RED_ZONE - sizeof(struct replay_frame));
    replay->rdi = f->rdi, replay->rsi = f->rsi, replay->rdx = f->rdx;
    replay->r10 = f->r10, replay->r8 = f->r8, replay->r9 = f->r9;
    replay->back = f->rip;
    memcpy(replay->data, data, data_size);
    u64 actual[6];
    memcpy(actual, arg, sizeof actual);
    if (data_arg >= 0) actual[data_arg] = addr_of(replay->data);
    f->rdi = actual[0], f->rsi = actual[1], f->rdx = actual[2];
    f->r10 = actual[3], f->r8 = actual[4], f->r9 = actual[5];
    f->rax = call->number;
    f->rsp = addr_of(replay);
    f->rip = addr_of(rt_replay);
}

static long change_memory(const struct call *call) {
    const u64 *a = call->arg;
    if (call->number == __NR_mremap && shield_is_on() && shield_has_mapped(a[0], a[1])) return -ENOMEM; /* callers map anew */
    switch (call->number) {
    case __NR_mmap: return memory_map(a[0], a[1], (int)a[2], (int)a[3], (int)a[4], a[5]);
    case __NR_munmap: return memory_unmap(a[0], a[1]);
    case __NR_mprotect: return memory_protect(a[0], a[1], (int)a[2]);
    case __NR_pkey_mprotect: return (int)a[3] == -1 ? memory_protect(a[0], a[1], (int)a[2]) : -EINVAL;
    case __NR_mremap: return memory_remap(a[0], a[1], a[2], (int)a[3], a[4]);
    case __NR_mincore: return memory_residency(a[0], a[1], a[2]);
    case __NR_msync: return memory_sync(a[0], a[1], (int)a[2]);
    case __NR_brk: return memory_break(a[0]);
    default: return -ENOSYS;
    }
}

/* What shielded files are mapped is the shields' to know; what mmap(2) puts something over, memory_map tells them. */
static long memory_call(const struct call *call) {
    const u64 *a = call->arg;
    long result = change_memory(call);
    if (failed(result) || !shield_is_on()) return result;
    if (call->number == __NR_munmap) shield_unmapped(a[0], a[1]);
    if (call->number == __NR_mremap && a[3] & MREMAP_FIXED) shield_unmapped(a[4], a[2]);
    return result;
}

static bool unmaps(const struct call *call, u64 stack_pointer) {
    u64 start = call->arg[0], length = page_up(call->arg[1]);
    return call->number == __NR_munmap && stack_pointer >= start && stack_pointer - start < length;
}

static long advise(const struct call *call, u64 stack_pointer) {
    u64 start = call->arg[0], length = call->arg[1], rest = length;
    if ((int)call->arg[2] == MADV_DONTNEED) rest = farewell_without_stack(start, length, stack_pointer);
    return rest || !length ? memory_advise(start, rest, (int)call->arg[2]) : 0;
}

static long locked_memory_call(const struct call *call, u64 stack_pointer) {
    struct lock_guard lock;
    long result = 0;
    lock_take(&lock, call->frame != NULL);
    farewell_collect();
    if (unmaps(call, stack_pointer)) farewell_defer(call->arg[0], call->arg[1]);
    else if (call->number == __NR_madvise) result = advise(call, stack_pointer);
    else result = memory_call(call);
    lock_give(&lock);
    return result;
}

/* Secret pages cannot be given to a pipe; their bytes can be written to it, or read from it. */
static u64 copying(const struct call *call) {
    long flags = SYS2(__NR_fcntl, call->arg[0], F_GETFL);
    return (flags & O_ACCMODE) == O_RDONLY ? __NR_readv : __NR_writev;
}

static void splice_by_copy(struct call *call) {
    call->number = copying(call);
    call_replay(call, call->arg, -1, NULL, 0);
}

/* SHM_REMAP would put shared memory where the model has the program's own, and whatever is given out there later would be everybody's. */
static long attach_segment(const struct call *call) {
    if (call->arg[2] & SHM_OVER) return -EINVAL;
    if (call->arg[2] & SHM_EXECUTE && !admission_allows_jit()) return -EACCES;
    state.counters.open_files++;
    return SYS3(__NR_shmat, call->arg[0], call->arg[1], call->arg[2]);
}

/* What only tells or moves bytes of injected files. */
static long injected_call(struct call *call, bool *replayed) {
    long result = 0;
    switch (call->number) {
    case __NR_stat:
    case __NR_lstat:
    case __NR_fstat:
    case __NR_newfstatat:
    case __NR_statx:
    case __NR_access:
    case __NR_faccessat:
    case __NR_faccessat2:
    case __NR_getxattr:
    case __NR_lgetxattr:
    case __NR_listxattr:
    case __NR_llistxattr: return files_path_call(call);
    default: files_descriptor_call(call, &result, replayed); return result;
    }
}

static long replay_as_it_is(struct call *call, bool *replayed) {
    call_replay(call, call->arg, -1, NULL, 0);
    *replayed = true;
    return 0;
}

/* Answers the call. `*replayed` is set if the kernel will answer it instead, after the handler has returned. */
static long answer(struct call *call, bool *replayed) {
    long result = shield_is_on() ? shield_call(call) : SHIELD_PASS;
    if (result != SHIELD_PASS) return result;
    if (shield_is_on() && shield_only(call->number) && !files_want(call->number)) return replay_as_it_is(call, replayed);
    switch (call->number) {
    case __NR_fork:
    case __NR_clone: return fork_process(call);
    case __NR_execve: return execute(call);
    case __NR_execveat: return execute_at(call);
    case __NR_rt_sigaction: return signal_action(call);
    case __NR_rt_sigprocmask: return signal_mask(call);
    case __NR_readlink:
    case __NR_readlinkat: return path_readlink(call);
    case __NR_open:
    case __NR_openat:
    case __NR_openat2:
    case __NR_creat: return opening_call(call, replayed);
    case __NR_dup2:
    case __NR_dup3:
    case __NR_close_range: return numbers_call(call);
    case __NR_setrlimit:
    case __NR_getrlimit:
    case __NR_prlimit64: return limit_call(call);
    case __NR_personality: return admission_personality(call->arg[0]);
    case __NR_shmat: return attach_segment(call);
    case __NR_setuid:
    case __NR_setreuid:
    case __NR_setresuid: return identity_change(call);
    case __NR_capset: return capability_change(call);
    case __NR_exit: thread_exit((long)call->arg[0]);
    case __NR_exit_group:
        shield_before_exit();
        observer_exit();
        return SYS1(__NR_exit_group, call->arg[0]);
    case __NR_futex: return futex_call(call, replayed);
    case __NR_recvmsg:
    case __NR_recvmmsg:
    case __NR_pidfd_getfd:
        *replayed = true;
        files_receive(call);
        return 0;
    case __NR_vmsplice:
        *replayed = true;
        splice_by_copy(call);
        return 0;
    case __NR_rt_sigsuspend:
    case __NR_ppoll:
    case __NR_pselect6:
    case __NR_epoll_pwait:
    case __NR_epoll_pwait2:
        *replayed = true;
        signal_wait(call);
        return 0;
    case __NR_mmap:
    case __NR_munmap:
    case __NR_mprotect:
    case __NR_pkey_mprotect:
    case __NR_mremap:
    case __NR_madvise:
    case __NR_mincore:
    case __NR_msync:
    case __NR_brk: return locked_memory_call(call, call->frame->rsp);
    default: return injected_call(call, replayed);
    }
}

/* SIGSEGV cannot be handed to the new image as ignored or blocked while it is the runtime's. */
static long execute_directly(struct call *call) {
    if (!deferral_may_execute()) deferral_end();
    deferral_open(addr_of(call) - STACK_OF_EXECUTE, STACK_OF_EXECUTE); /* the kernel will write there */
    return execute(call);
}

/* Called by entry.S. */
struct direct_frame {
    u64 number;
    u64 arg[6];
};
void trap_handler(int signal, void *info, struct trap_frame *f);
long direct_handler(struct direct_frame *frame);

__attribute__((used)) void trap_handler(int signal, void *info, struct trap_frame *f) {
    const int *si_code = (const int *)info + 2;
    if (*si_code == SYS_DISPATCH_CODE && deferral_now()) {
        deferral_call(info, f);
        return;
    }
    if (*si_code == GUARD_RECALL) {
        recall_answer(info, f);
        return;
    }
    if (*si_code != SYS_SECCOMP_CODE) {
        if (deferral_now()) deferral_complete_and_send(signal, info, f);
        else signal_foreign_sigsys(signal, info, f);
        return;
    }
    state.counters.traps++;
    struct call call = {.number = f->rax, .arg = {f->rdi, f->rsi, f->rdx, f->r10, f->r8, f->r9}, .frame = f};
    bool replayed = false;
    long result = answer(&call, &replayed);
    if (!replayed) f->rax = (u64)result;
}

static long in_kernel(const struct call *call) {
    const u64 *a = call->arg;
    return SYS6((long)call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* What files.c and the shields share, as it is answered in place. */
static long answer_in_place(struct call *call) {
    bool replayed;
    switch (call->number) {
    case __NR_readlink:
    case __NR_readlinkat:
        deferral_end();
        return path_readlink(call);
    case __NR_dup2:
    case __NR_dup3:
    case __NR_close_range: return numbers_call(call);
    case __NR_open:
    case __NR_openat:
    case __NR_openat2:
    case __NR_creat: return opening_call(call, &replayed);
    case __NR_getxattr:
    case __NR_lgetxattr:
    case __NR_listxattr:
    case __NR_llistxattr:
    case __NR_stat:
    case __NR_lstat:
    case __NR_fstat:
    case __NR_newfstatat:
    case __NR_statx:
    case __NR_access:
    case __NR_faccessat:
    case __NR_faccessat2: return files_path_call(call);
    case __NR_vmsplice: call->number = copying(call); return in_kernel(call);
    default: return in_kernel(call);
    }
}

long trap_pass(struct call *call) { return answer_in_place(call); }

static long shield_directly(struct call *call) {
    if (deferral_now() && shield_concerns(call->number, call->arg)) deferral_end();
    long result = shield_call(call);
    if (result != SHIELD_PASS || !shield_only(call->number)) return result;
    return files_want(call->number) ? files_descriptor_in_place(call) : in_kernel(call);
}

__attribute__((used)) long direct_handler(struct direct_frame *frame) {
    struct call call = {.number = frame->number, .frame = NULL};
    memcpy(call.arg, frame->arg, sizeof call.arg);
    state.counters.direct++;
    long result = shield_is_on() ? shield_directly(&call) : SHIELD_PASS;
    if (result != SHIELD_PASS) return result;
    switch (call.number) {
    case __NR_execve: return execute_directly(&call);
    case __NR_exit:
        deferral_end();
        thread_exit((long)call.arg[0]);
    case __NR_futex:
        deferral_end();
        return futex_call(&call, NULL);
    case __NR_rt_sigaction: return signal_action(&call);
    case __NR_rt_sigprocmask: return signal_mask(&call);
    case __NR_mmap:
    case __NR_munmap:
    case __NR_mprotect:
    case __NR_brk:
    case __NR_mremap:
    case __NR_madvise:
        deferral_end();
        return locked_memory_call(&call, addr_of(frame));
    default: return answer_in_place(&call);
    }
}
