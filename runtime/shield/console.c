/* Which descriptors are the console, and what their calls come to. */
#include "console.h"

#include <linux/fcntl.h>

#include "fail.h"
#include "reserved.h"
#include "table.h"

enum { STREAMS = 3, NOBODY = 0xffffffff, NAP = 100 * 1000 };

struct console console; /* like all of the runtime's data nothing of it is initialised: checks/inspect_binary.py */
static bool inherited;

void console_carried(u32 carried[2]) {
    carried[0] = policy.console.key ? (u32)console.out : NOBODY;
    carried[1] = console.device;
}

void console_inherit(const u32 carried[2]) {
    inherited = carried[0] != NOBODY;
    console.out = (int)carried[0];
    console.device = carried[1];
}

void console_nap(void) {
    const u64 moment[2] = {0, NAP};
    SYS2(__NR_nanosleep, moment, 0);
}

bool console_is_nonblocking(int fd) { return SYS2(__NR_fcntl, fd, F_GETFL) & O_NONBLOCK; }

/* The guard, which lives longest, says how the program ended, under a key of its own: its derivation from the tree's key. */
static void say_hello(void) {
    u8 key[AEAD_KEY];
    console_record_key(key, state.handoff_key, "end");
    console_tell(OUTPUT_HELLO, key, sizeof key);
    memset(key, 0, sizeof key);
}

static void begin_tree(void) {
    if (state.console_fd < 0)
        fail(CLOISTER_EXIT_USAGE, "the console is shielded, but nothing leads to the person", 0,
             "cloister run --console ADDRESS -- PROGRAM   starts the relay too");
    long out = reserved_keep(state.console_fd);
    if (failed(out)) fail(CLOISTER_EXIT_CANNOT_PROTECT, "no descriptor for the console", out, "raise ulimit -n");
    console.out = (int)out;
    if (console.terminal) console.device = console_device_of(0);
    static const u8 ends[STREAMS] = {END_INPUT, END_STDOUT, END_STDERR};
    for (u32 fd = 0; fd < STREAMS; fd++) {
        const struct shielded entry = {.kind = SHIELD_CONSOLE, .object = console.terminal ? END_TERMINAL : ends[fd]};
        require(table_put(fd, &entry), "no room for the console's descriptors");
    }
    say_hello();
}

void console_begin(void) {
    console_record_key(console.input_key, policy.console.key, "input");
    console_record_key(console.output_key, policy.console.key, "output");
    console.terminal = policy.console.flags & CONSOLE_TERMINAL;
    if (inherited) reserved_inherit(console.out);
    else begin_tree();
}

static long transfer(const struct call *call, int fd, u64 end, bool writes) {
    struct buffers buffers;
    long error = buffers_of(call, &buffers);
    if (failed(error)) return error;
    bool allowed = end == END_TERMINAL || writes == (end != END_INPUT);
    if (!allowed) return -EBADF;
    if (writes) return console_write(call, fd, &buffers, end == END_STDERR ? OUTPUT_STDERR : OUTPUT_STDOUT);
    return end == END_TERMINAL ? console_read_terminal(call, fd, &buffers) : console_read(call, fd, &buffers);
}

/* The kernel would answer these of what really stands behind the number. */
long console_call(struct call *call, int fd, const struct shielded *entry) {
    switch (call->number) {
    case __NR_read:
    case __NR_readv:
    case __NR_preadv2: return transfer(call, fd, entry->object, false);
    case __NR_write:
    case __NR_writev:
    case __NR_pwritev2: return transfer(call, fd, entry->object, true);
    case __NR_pread64:
    case __NR_pwrite64:
    case __NR_preadv:
    case __NR_pwritev: return -ESPIPE;
    case __NR_sendfile:
    case __NR_splice:
    case __NR_tee:
    case __NR_copy_file_range: return -EINVAL; /* callers read and write instead */
    case __NR_ioctl: return console_ioctl(call, fd);
    case __NR_bind:
    case __NR_listen:
    case __NR_connect:
    case __NR_accept:
    case __NR_accept4:
    case __NR_shutdown:
    case __NR_sendto:
    case __NR_sendmsg:
    case __NR_sendmmsg:
    case __NR_recvfrom:
    case __NR_recvmsg:
    case __NR_recvmmsg:
    case __NR_getsockname:
    case __NR_getpeername:
    case __NR_getsockopt:
    case __NR_setsockopt: return -ENOTSOCK;
    default: return SHIELD_PASS;
    }
}
