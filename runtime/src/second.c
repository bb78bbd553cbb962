#include "second.h"

#include <linux/mman.h>
#include <linux/sched.h>

#include "secret.h"

long rt_clone_on(u64 flags, void *stack_top, int *parent_tid, void (*child)(void *), void *arg);

enum { PROCESSORS_MOST = 1024, EAGER_LOOKS = 100 };

bool has_two_processors(void) {
    u64 set[PROCESSORS_MOST / 64] = {0}, found = 0;
    if (failed(SYS3(__NR_sched_getaffinity, 0, sizeof set, set))) return false;
    for (size_t i = 0; i < PROCESSORS_MOST; i++) found += set[i / 64] >> (i % 64) & 1;
    return found > 1;
}

bool second_start(struct second *second, u64 stack_size, void (*run)(void *), void *arg) {
    const u64 flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    long stack = secret_map(0, stack_size, PROT_READ | PROT_WRITE, 0);
    if (failed(stack)) return false;
    long thread = rt_clone_on(flags, ptr_of((u64)stack + stack_size), NULL, run, arg);
    if (failed(thread)) {
        SYS2(__NR_munmap, stack, stack_size);
        return false;
    }
    *second = (struct second){thread, (u64)stack, stack_size};
    return true;
}

void second_await(struct second *second) {
    const u64 moment[2] = {0, 20000};
    long process = SYS0(__NR_getpid);
    if (!second->thread) return;
    for (u32 i = 0; SYS3(__NR_tgkill, process, second->thread, 0) != -ESRCH; i++)
        if (i < EAGER_LOOKS) SYS0(__NR_sched_yield);
        else SYS2(__NR_nanosleep, moment, 0);
    SYS2(__NR_munmap, second->stack, second->stack_size);
    second->thread = 0;
}
