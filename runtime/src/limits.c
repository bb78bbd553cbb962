#include "limits.h"

#include <linux/resource.h>

#include "access.h"
#include "call.h"
#include "memory.h"
#include "state.h"

struct limit { /* struct rlimit64 */
    u64 soft, hard;
};

static const u64 unlimited = ~0UL;
static bool limited; /* perhaps: the kernel knows, and a vfork child writes here too */

static u64 for_kernel(u64 value) { return value >= unlimited - LIMIT_RESERVED ? unlimited : value + LIMIT_RESERVED; }
static u64 for_program(u64 value) { return value == unlimited ? value : value - min_u64(value, LIMIT_RESERVED); }

static long exchange(u64 process, const struct limit *new, struct limit *old) {
    struct limit wanted, found = {0, 0};
    if (new) wanted = (struct limit){for_kernel(new->soft), for_kernel(new->hard)};
    long error = SYS4(__NR_prlimit64, process, RLIMIT_AS, new ? &wanted : NULL, &found);
    if (!failed(error) && old) *old = (struct limit){for_program(found.soft), for_program(found.hard)};
    if (!failed(error) && new) limited = true;
    return error;
}

/* setrlimit(2), getrlimit(2), prlimit(2) of RLIMIT_AS. */
long limit_call(struct call *call) {
    const u64 *a = call->arg;
    bool any = call->number == __NR_prlimit64, sets = call->number == __NR_setrlimit;
    u64 process = any ? a[0] : 0, new = any ? a[2] : sets ? a[1] : 0, old = any ? a[3] : sets ? 0 : a[1];
    struct limit given, found;
    if (new && !can_read(new, sizeof given)) return -EFAULT;
    if ((old || !any) && !sets && !can_write(old, sizeof found)) return -EFAULT;
    if (sets && !new) return -EFAULT;
    if (new) memcpy(&given, ptr_of(new), sizeof given);
    long error = exchange(process, new ? &given : NULL, &found);
    if (!failed(error) && old) memcpy(ptr_of(old), &found, sizeof found);
    return error;
}

void limits_begin(void) {
    struct limit now = {unlimited, unlimited};
    SYS2(__NR_getrlimit, RLIMIT_AS, &now);
    limited = now.soft != unlimited;
}

u64 limits_mapped(u64 start, u64 end) {
    u64 sum = 0;
    for (size_t i = areas_first_ending_after(start); i < areas_count() && areas_get(i)->start < end; i++)
        sum += min_u64(areas_get(i)->end, end) - max_u64(areas_get(i)->start, start);
    return sum;
}

/* The rest of the heap's room and of the stack's are not the program's yet: natively both grow. */
bool limits_allow(u64 more) {
    struct limit now;
    if (!limited || failed(exchange(0, NULL, &now)) || now.soft == unlimited) return true;
    u64 mapped = limits_mapped(0, ADDRESS_LIMIT), unused = memory_break_rest() + (state.stack_end - state.stack_start);
    return mapped - min_u64(mapped, unused) + more <= now.soft;
}
