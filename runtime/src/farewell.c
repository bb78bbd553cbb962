#include "farewell.h"

#include "memory.h"

enum { PLACES = 256, RED_ZONE = 128, STACK_KEPT = 64 << 10 /* glibc keeps 16 KiB */ };

struct farewell {
    u64 start, length;
    long thread;
};

/* If all places are taken, a stack stays mapped until the process ends. */
static struct farewell pending[PLACES] BEHIND;
static size_t count;

void farewell_defer(u64 start, u64 length) {
    if (count < PLACES) pending[count++] = (struct farewell){start, length, SYS0(__NR_gettid)};
}

static bool has_ended(long process, long thread) { return SYS3(__NR_tgkill, process, thread, 0) == -ESRCH; }

void farewell_collect(void) {
    long process = count ? SYS0(__NR_getpid) : 0;
    for (size_t i = count; i-- > 0;) {
        struct farewell left = pending[i];
        if (!has_ended(process, left.thread)) continue;
        pending[i] = pending[--count];
        if (failed(memory_unmap(left.start, left.length))) return; /* then it stays mapped */
    }
}

u64 farewell_without_stack(u64 start, u64 length, u64 stack_pointer) {
    const struct area *stack = areas_find(stack_pointer);
    u64 end = start + page_up(length);
    if (!stack || stack->kind != AREA_SECRET || start > stack->start || end <= stack->start) return length;
    bool just_below = end <= stack_pointer - RED_ZONE && stack_pointer - end <= STACK_KEPT;
    return just_below ? stack->start - start : length;
}
