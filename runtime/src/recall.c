#include "recall.h"

#include "../shield/shield.h"
#include "bytes.h"
#include "deferral.h"

/* recall_return.S */
void rt_give_vector_back(const void *saved, u64 features);
__attribute__((noreturn)) void rt_go_on(const struct trap_frame *frame, u64 *flags_and_place);

enum { RED_ZONE = 128, BLOCK = 0, SET_MASK = 2, MAGIC_AT = 464, FEATURES_AT = 472, MAGIC = 0x46505853 /* struct _fpx_sw_bytes: asm/sigcontext.h */ };
#define DISARMED (1U << 31) /* SS_AUTODISARM */

static u64 features_of(const u8 *saved) { return (u32)load64(saved + MAGIC_AT) == MAGIC ? load64(saved + FEATURES_AT) : 0; }

/* rt_sigreturn(2) would have the kernel forget how long the interrupted call may still take. So what it would do is done here, and the
 * call goes on as after a stop, by restart_syscall(2), whose number the guard has put into the frame. */
static void go_on_waiting(const struct trap_frame *frame) {
    const u64 mask = frame->signals;
    u64 *back = ptr_of(frame->rsp - RED_ZONE - 2 * sizeof *back); /* where only what was saved of vector registers may stand */
    rt_give_vector_back(frame->floating_point, features_of(frame->floating_point));
    SYS4(__NR_rt_sigprocmask, SET_MASK, &mask, 0, 8);
    back[0] = frame->rflags;
    back[1] = frame->rip;
    rt_go_on(frame, back);
}

static bool is_stop(int signal) { return signal >= STOP && signal <= STOP_LAST; }

/* Sent after a signal that stops, SIGCONT calls that off. */
static bool is_continued(void) {
    u64 pending = 0;
    SYS2(__NR_rt_sigpending, &pending, sizeof pending);
    return pending >> (CONTINUE - 1) & 1;
}

static void send_again(int signal) {
    if (is_stop(signal) && is_continued()) return;
    const struct signal_info info = {.signal = signal, .code = GUARD_RECALL};
    long process = SYS0(__NR_getpid), thread = SYS0(__NR_gettid);
    if (failed(SYS4(__NR_rt_tgsigqueueinfo, process, thread, signal, &info)))
        SYS3(__NR_tgkill, process, thread, signal); /* over the limit of queued signals */
}

/* False if the kernel may have forgotten about the call that was interrupted. A deferred child leaves it to its parent. */
static bool give_back(int then) {
    if (deferral_now()) return false;
    if (!then || is_stop(then)) return shield_recalled();
    shield_before_death();
    return false;
}

void recall_answer(const struct signal_info *info, struct trap_frame *frame) {
    const u64 recall = SIGSYS_BIT;
    bool timed = info->user == GUARD_TIMED && frame->rax == __NR_restart_syscall;
    if (timed) SYS4(__NR_rt_sigprocmask, BLOCK, &recall, 0, 8); /* one more would go the usual way back */
    bool undisturbed = give_back(info->error);
    if (info->error) send_again(info->error);
    if (timed && undisturbed && frame->floating_point && !((u32)frame->stack.flags & DISARMED)) go_on_waiting(frame);
}
