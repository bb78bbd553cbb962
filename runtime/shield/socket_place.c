/* Sockets that have a path, which is the host's to see; and descriptors in messages: whoever receives a shielded one gets what the kernel
 * has behind it, and would read nothing, or write plaintext to a connection. */
#include "location.h"
#include "outside.h"
#include "socket.h"
#include "table.h"

enum { FAMILY_SIZE = 2, ADDRESS_MOST = 110 /* struct sockaddr_un */, RIGHTS = 1 /* SCM_RIGHTS */, MESSAGE_STRIDE = 64 /* struct mmsghdr */, MESSAGES_MOST = 1024 };

struct message { /* struct msghdr */
    u64 name;
    u32 name_size, unused;
    u64 vectors, count, control, control_size;
    u32 flags, unused2;
};

struct control { /* struct cmsghdr */
    u64 size;
    u32 level, type;
};

/* With the lock held. Names that are no paths (abstract ones, none) are nobody's files. */
static long check_address(u64 at, u64 size) {
    static u8 address[ADDRESS_MOST + 1] BEHIND;
    struct location location;
    if (!at || size <= FAMILY_SIZE || size > ADDRESS_MOST || !shield_readable(at, size)) return SHIELD_PASS;
    memset(address, 0, sizeof address);
    memcpy(address, ptr_of(at), size);
    if ((address[0] | address[1] << 8) != FAMILY_UNIX || !address[FAMILY_SIZE]) return SHIELD_PASS;
    const char *path = (const char *)address + FAMILY_SIZE;
    long result = location_enter_text(&location, AT_HERE, path, LOCATION_FOLLOW | LOCATION_PARENT);
    if (result == SHIELD_PASS) return location.native == addr_of(path) ? SHIELD_PASS : -EACCES; /* the kernel would not get there */
    return result ? result : location_leave(&location, -EACCES);
}

/* Whether one of the descriptors in a message's control data is shielded. */
static bool gives_away(u64 at, u64 size) {
    struct control control;
    while (size >= sizeof control && shield_readable(at, sizeof control)) {
        memcpy(&control, ptr_of(at), sizeof control);
        if (control.size < sizeof control || control.size > size || !shield_readable(at, control.size)) return false;
        const int *fd = ptr_of(at + sizeof control);
        const u64 count = control.level == LEVEL_SOCKET && control.type == RIGHTS ? (control.size - sizeof control) / sizeof *fd : 0;
        for (u64 i = 0; i < count; i++)
            if (table_has((u32)fd[i])) return true;
        const u64 step = min_u64((control.size + 7) & ~7UL, size);
        at += step;
        size -= step;
    }
    return false;
}

static long check_message(u64 at) {
    struct message message;
    if (!shield_readable(at, sizeof message)) return SHIELD_PASS; /* EFAULT */
    memcpy(&message, ptr_of(at), sizeof message);
    if (gives_away(message.control, message.control_size)) return -EPERM;
    return policy.files_count ? check_address(message.name, message.name_size) : SHIELD_PASS;
}

static long check_messages(u64 at, u64 count) {
    long result = SHIELD_PASS;
    for (u64 i = 0; result == SHIELD_PASS && i < min_u64(count, MESSAGES_MOST); i++) result = check_message(at + i * MESSAGE_STRIDE);
    return result;
}

static long check(const struct call *call) {
    const u64 *a = call->arg;
    switch (call->number) {
    case __NR_sendmsg: return check_message(a[1]);
    case __NR_sendmmsg: return check_messages(a[1], (u32)a[2]);
    case __NR_sendto: return check_address(a[4], (u32)a[5]);
    default: return check_address(a[1], (u32)a[2]);
    }
}

long socket_place_call(const struct call *call) {
    struct lock_guard lock;
    bool has_message = call->number == __NR_sendmsg || call->number == __NR_sendmmsg;
    bool has_address = call->number == __NR_bind || call->number == __NR_connect || (call->number == __NR_sendto && call->arg[4]);
    if (!has_message && (!has_address || !policy.files_count)) return SHIELD_PASS;
    lock_take(&lock, call->frame != NULL);
    long result = check(call);
    lock_give(&lock);
    return result;
}
