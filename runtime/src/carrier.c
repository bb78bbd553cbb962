#include "carrier.h"

#include "state.h"

enum { UNIX_FAMILY = 1, STREAM = 1, NO_SIGNAL = 0x4000 /* MSG_NOSIGNAL */ };
enum { SOCKET_LEVEL = 1, RECEIVE_TIMEOUT = 20, SEND_TIMEOUT = 21 }; /* SOL_SOCKET, SO_RCVTIMEO, SO_SNDTIMEO */

struct unix_address {
    u16 family;
    char path[108];
};

struct header {
    u32 kind, size;
};

/* connect(2) keeps the timeout of sending. */
static void limit_waits(long fd, u64 seconds) {
    const u64 interval[2] = {seconds, 0};
    SYS5(__NR_setsockopt, fd, SOCKET_LEVEL, RECEIVE_TIMEOUT, interval, sizeof interval);
    SYS5(__NR_setsockopt, fd, SOCKET_LEVEL, SEND_TIMEOUT, interval, sizeof interval);
}

long talk_open(struct talk *talk, u64 seconds) {
    struct unix_address address = {.family = UNIX_FAMILY};
    *talk = (struct talk){.fd = -1};
    if (strlen(state.attester) >= sizeof address.path) return -ENAMETOOLONG;
    copy_bounded(address.path, sizeof address.path, state.attester);
    long fd = SYS3(__NR_socket, UNIX_FAMILY, STREAM | CLOSE_ON_EXEC, 0);
    if (failed(fd)) return fd;
    limit_waits(fd, seconds);
    long error = SYS3(__NR_connect, fd, &address, sizeof address);
    if (failed(error)) {
        SYS1(__NR_close, fd);
        return error;
    }
    talk->fd = (int)fd;
    return 0;
}

static long send_all(int fd, const void *bytes, u64 size) {
    for (u64 done = 0; done < size;) {
        long n = SYS6(__NR_sendto, fd, addr_of(bytes) + done, size - done, NO_SIGNAL, 0, 0);
        if (n == -EINTR) continue;
        if (failed(n)) return n;
        done += (u64)n;
    }
    return 0;
}

long talk_send(const struct talk *talk, u32 kind, const void *bytes, u32 size) {
    const struct header header = {kind, size};
    long error = send_all(talk->fd, &header, sizeof header);
    return failed(error) ? error : send_all(talk->fd, bytes, size);
}

static long receive_all(int fd, void *to, u64 size) {
    for (u64 done = 0; done < size;) {
        long n = SYS3(__NR_read, fd, addr_of(to) + done, size - done);
        if (n == -EINTR) continue;
        if (failed(n)) return n;
        if (n == 0) return -EIO; /* it closed: it is gone, or had enough of us */
        done += (u64)n;
    }
    return 0;
}

long talk_receive(struct talk *talk, u32 kind) {
    struct header header;
    region_drop(&talk->answer);
    long error = receive_all(talk->fd, &header, sizeof header);
    if (failed(error)) return error;
    bool known = header.kind == kind || header.kind == CLOISTER_FRAME_REFUSED;
    if (!known || header.size > CLOISTER_FRAME_MAX_BYTES) return -EPROTO;
    error = region_create(&talk->answer, header.size);
    if (!failed(error)) error = receive_all(talk->fd, ptr_of(talk->answer.at), header.size);
    if (failed(error)) return error;
    return header.kind == kind ? 0 : -EACCES;
}

void talk_close(struct talk *talk) {
    region_drop(&talk->answer);
    if (talk->fd >= 0) SYS1(__NR_close, talk->fd);
    talk->fd = -1;
}
