/* Numbers of descriptors. The runtime's own descriptors live for microseconds, with the lock held, at the lowest free numbers.
 * open(2) and its kind never meet them, for they take free numbers. What takes a number of the program's choice waits for the lock:
 * else secret memory would become the program's file, or that file would be given the size of secret memory.
 *
 * close(2) does not wait: it is frequent, and a program that closes what it does not own is wrong natively too. secret.c looks
 * whose its number is before each step. */
#include "call.h"
#include "deferral.h"
#include "files.h"
#include "state.h"

enum { CLOSE_LATER = 4 /* CLOSE_RANGE_CLOEXEC */ };

static bool is_taken(u64 fd) { return !failed(SYS2(__NR_fcntl, fd, 1 /* F_GETFD */)); }

static long in_kernel(const struct call *call) { return SYS3((long)call->number, call->arg[0], call->arg[1], call->arg[2]); }

/* If the number is taken it is the program's, so the runtime does not get it; closing what is there may block, on a network file
 * system for one, and whoever answers may be a thread that needs memory. */
static long put_on_number(const struct call *call, bool *unlocked) {
    long result = 0;
    if (files_duplicate(call, &result)) return result;
    *unlocked = is_taken(call->arg[1]);
    return *unlocked ? 0 : in_kernel(call);
}

long numbers_call(struct call *call) {
    struct lock_guard lock;
    bool closes = call->number == __NR_close_range, unlocked = closes && call->arg[2] & CLOSE_LATER;
    long result = 0;
    if (unlocked || deferral_now()) return in_kernel(call); /* a deferred child has one thread */
    lock_take(&lock, call->frame != NULL);
    result = closes ? in_kernel(call) : put_on_number(call, &unlocked);
    lock_give(&lock);
    return unlocked ? in_kernel(call) : result;
}
