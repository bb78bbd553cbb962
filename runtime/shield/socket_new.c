/* Sockets that are not shielded connections, or not yet: which may be made, and where they may lead. What the policy does not list is
 * refused. */
#include "socket.h"
#include "table.h"

enum { ADDRESS_MOST = 128, NETLINK_ROUTE = 0, CLOSE_ON_EXECUTE = 02000000 };

struct message { /* struct msghdr */
    u64 name;
    u32 name_size, unused;
    u64 vectors, count, control, control_size;
    u32 flags, unused2;
};

/* Datagrams would need another protocol; packets, raw sockets and others go past every port. Netlink tells of routes and interfaces. */
static long make(const struct call *call) {
    const u32 family = (u32)call->arg[0], kind = (u32)call->arg[1] & KIND_MASK, protocol = (u32)call->arg[2];
    if (family == FAMILY_IPV4 || family == FAMILY_IPV6)
        return kind == KIND_STREAM && (!protocol || protocol == PROTOCOL_TCP) ? SHIELD_PASS : -EACCES;
    if (family == FAMILY_UNIX || (family == FAMILY_NETLINK && protocol == NETLINK_ROUTE)) return SHIELD_PASS;
    return -EACCES;
}

static bool copy_address(const struct call *call, u64 at, u64 size, u8 to[ADDRESS_MOST]) {
    struct lock_guard lock;
    if (size > ADDRESS_MOST) return false;
    lock_take(&lock, call->frame != NULL);
    const bool usable = shield_readable(at, size);
    if (usable) memcpy(to, ptr_of(at), size);
    lock_give(&lock);
    return usable;
}

static u32 family_of(const u8 *bytes, u64 size) { return size < 2 ? 0 : (u32)(bytes[0] | bytes[1] << 8); }

static u32 option_of(u64 fd, u32 option) {
    u32 value = 0, size = sizeof value;
    SYS5(__NR_getsockopt, fd, LEVEL_SOCKET, option, &value, &size);
    return value;
}

/* What the socket is bound to: false for other families. */
static bool own_address(u64 fd, struct address *address) {
    u8 bytes[ADDRESS_MOST];
    u32 size = sizeof bytes;
    if (failed(SYS3(__NR_getsockname, fd, bytes, &size)) || size > sizeof bytes) return false;
    return socket_address_read(address, bytes, size);
}

static long bind_to(const struct call *call) {
    u8 bytes[ADDRESS_MOST] = {0};
    struct address address;
    const u64 size = (u32)call->arg[2];
    if (!copy_address(call, call->arg[1], size, bytes)) return size > ADDRESS_MOST ? -EINVAL : -EFAULT;
    if (family_of(bytes, size) == FAMILY_NETLINK) return SHIELD_PASS;
    if (!socket_address_read(&address, bytes, size)) return -EACCES;
    if (!address.port || socket_listen_entry(address.port)) return SYS3(__NR_bind, call->arg[0], bytes, size); /* what was looked at */
    return -EACCES;
}

static bool can_serve(const struct shield_listen *entry) {
    if (entry->protocol == PROTOCOL_PLAIN) return true;
    const struct tls_config *config = socket_server_config(entry);
    return config && config->key;
}

/* A socket that is not bound yet would get any port. */
static long listen_on(const struct call *call) {
    struct address address;
    if (!own_address(call->arg[0], &address)) return -EACCES;
    const struct shield_listen *entry = address.port ? socket_listen_entry(address.port) : NULL;
    if (!entry) return -EACCES;
    return can_serve(entry) ? SHIELD_PASS : -EOPNOTSUPP;
}

static long accept_one(const struct call *call) {
    const u64 *a = call->arg;
    struct address address;
    const struct shield_listen *entry = own_address(a[0], &address) ? socket_listen_entry(address.port) : NULL;
    if (!entry) return failed(SYS2(__NR_fcntl, a[0], 1)) ? -EBADF : -EACCES;
    if (entry->protocol == PROTOCOL_PLAIN) return SHIELD_PASS;
    shield_unblock(call);
    const long fd = SYS4(__NR_accept4, a[0], a[1], a[2], call->number == __NR_accept ? 0 : a[3]);
    shield_block(call);
    if (failed(fd)) return fd;
    const struct tls_config *config = socket_server_config(entry); /* none: the evidence is old, and the attester away */
    const long error = config ? connection_make((int)fd, config, (u64)(entry - policy.listen)) : -ECONNABORTED;
    if (failed(error)) SYS1(__NR_close, fd);
    return failed(error) ? error : fd;
}

/* What became of connecting, for a connection that is still there: it may have taken long, and the number be another's. */
static void note_connected(const struct call *call, int fd, struct connection *c, long result) {
    if (result == 0) {
        struct turn turn;
        connection_enter(&turn, call, c);
        (void)!connection_flush(c, fd, MESSAGE_NO_SIGNAL);
        connection_leave(&turn, c);
    } else if (result != -EINPROGRESS && result != -EALREADY && result != -EINTR && result != -EISCONN) {
        struct lock_guard lock;
        lock_take(&lock, call->frame != NULL);
        table_drop((u32)fd);
        lock_give(&lock);
    }
}

/* `c` is held, also afterwards, but for SOCKET_GONE. NULL: it is in the clear. */
static long start_connecting(const struct call *call, int fd, struct connection *c, const u8 *bytes, u64 size) {
    const u64 serial = c ? connection_rest(c) : 0;
    shield_unblock(call);
    const long result = SYS3(__NR_connect, fd, bytes, size);
    shield_block(call);
    if (!c) return result;
    if (!connection_resume(call, fd, c, serial)) return SOCKET_GONE;
    note_connected(call, fd, c, result);
    return result;
}

static long connect_to(const struct call *call) {
    u8 bytes[ADDRESS_MOST] = {0};
    struct address address;
    const u64 size = (u32)call->arg[2];
    const int fd = (int)call->arg[0];
    if (!copy_address(call, call->arg[1], size, bytes)) return size > ADDRESS_MOST ? -EINVAL : -EFAULT;
    const u32 family = family_of(bytes, size);
    if (family == 0 || family == FAMILY_NETLINK) return SHIELD_PASS;
    if (!socket_address_read(&address, bytes, size)) return -EPERM;
    const struct shield_connect *entry = socket_connect_entry(&address);
    if (!entry || option_of((u32)fd, OPTION_PROTOCOL) != PROTOCOL_TCP) return -EPERM;
    if (entry->protocol != PROTOCOL_PLAIN) {
        const struct tls_config *config = socket_client_config(entry);
        const long error = config ? connection_make(fd, config, (u64)(entry - policy.connect)) : -EINVAL;
        if (failed(error)) return error;
    }
    struct connection *c = entry->protocol == PROTOCOL_PLAIN ? NULL : connection_pin(call, fd);
    if (!c && entry->protocol != PROTOCOL_PLAIN) return -EBADF; /* closed already */
    const long result = start_connecting(call, fd, c, bytes, size);
    if (result == SOCKET_GONE) return -EBADF;
    if (c) connection_let_go(c);
    return result;
}

/* Once more, because connecting takes time or has failed: to where the connection's keys are for. */
long socket_connect_again(struct call *call, int fd, struct connection *c) {
    u8 bytes[ADDRESS_MOST] = {0};
    struct address address;
    const u64 size = (u32)call->arg[2];
    if (!c->client || !c->handshake || c->tls.connected) return -EISCONN;
    if (!copy_address(call, call->arg[1], size, bytes)) return -EFAULT;
    const struct shield_connect *entry = socket_address_read(&address, bytes, size) ? socket_connect_entry(&address) : NULL;
    if (!entry || entry->protocol == PROTOCOL_PLAIN || !socket_is_client_config(entry, c->handshake->config)) return -EPERM;
    return start_connecting(call, fd, c, bytes, size);
}

/* A datagram's address, or data in the packet that opens a connection. */
static long send_to(const struct call *call, u64 address, u64 size, u32 flags) {
    u8 bytes[ADDRESS_MOST] = {0};
    if (flags & MESSAGE_FAST_OPEN) return -EOPNOTSUPP;
    if (!address || !size) return SHIELD_PASS;
    if (!copy_address(call, address, size, bytes)) return size > ADDRESS_MOST ? -EINVAL : -EFAULT;
    return family_of(bytes, size) == FAMILY_NETLINK || option_of((u32)call->arg[0], OPTION_PROTOCOL) == PROTOCOL_TCP ? SHIELD_PASS : -EPERM;
}

static long send_message(const struct call *call, u64 at) {
    struct message message;
    struct lock_guard lock;
    lock_take(&lock, call->frame != NULL);
    const bool usable = shield_readable(at, sizeof message);
    if (usable) memcpy(&message, ptr_of(at), sizeof message);
    lock_give(&lock);
    if (!usable) return -EFAULT;
    return send_to(call, message.name, message.name_size, (u32)call->arg[2]);
}

long socket_new_call(struct call *call) {
    const u64 *a = call->arg;
    switch (call->number) {
    case __NR_socket: return make(call);
    case __NR_socketpair: return (u32)a[0] == FAMILY_UNIX ? SHIELD_PASS : -EACCES;
    case __NR_bind: return bind_to(call);
    case __NR_listen: return listen_on(call);
    case __NR_accept:
    case __NR_accept4: return accept_one(call);
    case __NR_connect: return connect_to(call);
    case __NR_sendto: return send_to(call, a[4], (u32)a[5], (u32)a[3]);
    case __NR_sendmsg: return send_message(call, a[1]);
    case __NR_sendmmsg: return -EOPNOTSUPP; /* of datagrams, mostly */
    case __NR_setsockopt: return socket_option_new(call);
    default: return SHIELD_PASS;
    }
}
