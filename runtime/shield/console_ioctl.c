/* ioctl(2) on the console. What concerns job control and size is the kernel's, which has no plaintext of either. */
#include <asm/ioctls.h>
#include <asm/termbits.h>

#include "console.h"
#include "console_modes.h"

enum { NOW = 0, DRAINED = 1, FLUSHED = 2, FLUSH_INPUT = 0, FLUSH_OUTPUT = 1, FLUSH_BOTH = 2 };

/* What a MODE record says. */
struct told {
    u32 when;
    u8 termios[sizeof(struct termios)];
};

static long get_kernels(int fd, struct termios2 *all) { return SYS3(__NR_ioctl, fd, TCGETS2, all); }

static void believe(struct termios2 *all, const struct modes *modes) {
    all->c_iflag = modes->input;
    all->c_oflag = modes->output;
    all->c_lflag = modes->local;
    all->c_cc[VMIN] = modes->least;
    all->c_cc[VTIME] = modes->tenths;
}

/* struct termios is the beginning of struct termios2. */
static long get_modes(int fd, u64 to, u64 size) {
    struct termios2 all;
    struct modes modes;
    long error = get_kernels(fd, &all);
    if (!failed(error)) error = modes_get(&modes);
    if (failed(error)) return error;
    if (!shield_writable(to, size)) return -EFAULT;
    believe(&all, &modes);
    memcpy(ptr_of(to), &all, size);
    return 0;
}

/* The kernel keeps what is harmless there, and says whether this process may set modes at all: in the background it may not. */
static long set_kernels(const struct call *call, int fd, const struct termios2 *wanted) {
    struct termios2 raw = *wanted;
    const struct modes none = {.least = RECORD_OF_KEY};
    believe(&raw, &none);
    shield_unblock(call);
    long error = SYS3(__NR_ioctl, fd, TCSETS2, &raw);
    shield_block(call);
    return error;
}

static long keep_and_tell(int fd, const struct termios2 *wanted, u32 when) {
    const struct modes modes = {wanted->c_iflag, wanted->c_oflag, wanted->c_lflag, wanted->c_cc[VMIN], wanted->c_cc[VTIME]};
    struct told told = {.when = when};
    long error = modes_set(&modes);
    if (failed(error)) return error;
    memcpy(told.termios, wanted, sizeof told.termios);
    console_tell(OUTPUT_MODE, &told, sizeof told);
    if (when == FLUSHED) console_discard(fd);
    return 0;
}

static long copy_in(const struct call *call, int fd, struct termios2 *wanted, u64 size) {
    struct lock_guard lock;
    lock_take(&lock, call->frame != NULL);
    long error = get_kernels(fd, wanted); /* speeds, which struct termios does not have */
    if (!failed(error) && !shield_readable(call->arg[2], size)) error = -EFAULT;
    if (!failed(error)) memcpy(wanted, ptr_of(call->arg[2]), size);
    lock_give(&lock);
    return error;
}

static long set_modes(const struct call *call, int fd, u64 size, u32 when) {
    struct lock_guard lock;
    struct termios2 wanted;
    long error = copy_in(call, fd, &wanted, size);
    if (!failed(error)) error = set_kernels(call, fd, &wanted);
    if (failed(error)) return error;
    lock_take(&lock, call->frame != NULL);
    error = keep_and_tell(fd, &wanted, when);
    lock_give(&lock);
    return error;
}

static long flush(const struct call *call, int fd) {
    struct lock_guard lock;
    u64 which = call->arg[2];
    shield_unblock(call);
    long error = SYS3(__NR_ioctl, fd, TCFLSH, which == FLUSH_INPUT || which == FLUSH_BOTH ? FLUSH_OUTPUT : which);
    shield_block(call);
    if (failed(error) || which == FLUSH_OUTPUT) return error;
    lock_take(&lock, call->frame != NULL);
    console_discard(fd);
    lock_give(&lock);
    return 0;
}

static long put_number(const struct call *call, long value) {
    u32 number = (u32)value;
    if (failed(value)) return value;
    if (!shield_writable(call->arg[2], sizeof number)) return -EFAULT;
    memcpy(ptr_of(call->arg[2]), &number, sizeof number);
    return 0;
}

static long locked(const struct call *call, int fd) {
    struct lock_guard lock;
    u32 waiting = 0;
    long result = 0;
    lock_take(&lock, call->frame != NULL);
    switch (call->arg[1]) {
    case TCGETS: result = get_modes(fd, call->arg[2], sizeof(struct termios)); break;
    case TCGETS2: result = get_modes(fd, call->arg[2], sizeof(struct termios2)); break;
    default: /* FIONREAD */
        result = console.terminal ? SYS3(__NR_ioctl, fd, FIONREAD, &waiting) : 0;
        if (!failed(result)) result = put_number(call, console.terminal ? waiting / RECORD_OF_KEY : console_waiting(fd));
    }
    lock_give(&lock);
    return result;
}

static long of_terminal(const struct call *call, int fd) {
    switch (call->arg[1]) {
    case TCGETS:
    case TCGETS2: return locked(call, fd);
    case TCSETS: return set_modes(call, fd, sizeof(struct termios), NOW);
    case TCSETSW: return set_modes(call, fd, sizeof(struct termios), DRAINED);
    case TCSETSF: return set_modes(call, fd, sizeof(struct termios), FLUSHED);
    case TCSETS2: return set_modes(call, fd, sizeof(struct termios2), NOW);
    case TCSETSW2: return set_modes(call, fd, sizeof(struct termios2), DRAINED);
    case TCSETSF2: return set_modes(call, fd, sizeof(struct termios2), FLUSHED);
    case TCFLSH: return flush(call, fd);
    case TCGETA:
    case TCSETA:
    case TCSETAW:
    case TCSETAF: return -EINVAL; /* of System V: nobody uses them, and they would reach the kernel's raw terminal */
    case TIOCSTI: return -EIO;    /* would put plaintext into the kernel */
    default: return SHIELD_PASS;
    }
}

long console_ioctl(const struct call *call, int fd) {
    switch (call->arg[1]) {
    case FIONREAD: return locked(call, fd);
    case FIONBIO:
    case FIOASYNC:
    case FIOCLEX:
    case FIONCLEX: return SHIELD_PASS;
    default: return console.terminal ? of_terminal(call, fd) : -ENOTTY;
    }
}
