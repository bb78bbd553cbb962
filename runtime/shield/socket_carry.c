/* Connections where a program executes another, or ends.
 *
 * A connection goes to the new image if it stands there for standard input, output or errors (as inetd's servers have it), and then it is
 * the new image's alone: two that counted records for themselves would use a nonce twice. On other numbers it cannot be used there, so that
 * a shell keeps its connections whatever it executes. */
#include "bytes.h"
#include "carry.h"
#include "socket.h"
#include "table.h"

enum { STANDARD = 2, CARRIED_MOST = 3 };

struct carried {
    bool client, shut, owes;
    u8 owed;
    u32 place, handshake, waiting, plain, partial, early, queued; /* sizes, most of them */
    struct tls tls;
};

/* A vfork child is not counted as a user: it is gone again soon. A child that is put off has no connections (shield_may_defer). */
static bool is_counted(void) { return !table_is_borrowed(); }

static bool will_be_closed(u64 fd) { return SYS2(__NR_fcntl, fd, 1 /* F_GETFD */) != 0; }

static struct connection *get(u64 fd, struct shielded *entry) {
    return table_get(fd, entry) && entry->kind == SHIELD_SOCKET ? ptr_of(entry->object) : NULL;
}

bool socket_is_any(void) {
    struct shielded entry;
    for (u64 fd = 0; fd < table_end(); fd++)
        if (get(fd, &entry)) return true;
    return false;
}

static void move(u64 fd, struct connection *c) {
    struct turn turn;
    if (fd > STANDARD || will_be_closed(fd)) return;
    connection_enter(&turn, NULL, c);
    if (!c->lost) {
        c->mover = (u32)SYS0(__NR_getpid);
        c->lost = true;
    }
    connection_leave(&turn, c);
}

void socket_before_exec(void) {
    struct shielded entry;
    for (u64 fd = 0; fd < table_end(); fd++) {
        struct connection *c = get(fd, &entry);
        if (c) move(fd, c);
    }
    struct lock_guard lock;
    lock_take(&lock, false);
    for (u64 fd = 0; is_counted() && fd < table_end(); fd++) {
        struct connection *c = get(fd, &entry);
        if (!c) continue;
        socket_closed((int)fd, &entry);
        __atomic_sub_fetch(&c->holds, CONNECTION_USER, __ATOMIC_ACQ_REL);
    }
    lock_give(&lock);
}

void socket_exec_failed(void) {
    struct shielded entry;
    for (u64 fd = 0; fd < table_end(); fd++) {
        struct connection *c = get(fd, &entry);
        if (!c) continue;
        if (is_counted()) socket_copied(&entry);
        if (c->mover != (u32)SYS0(__NR_getpid)) continue;
        c->mover = 0;
        c->lost = false;
    }
}

/* The kernel closes what is open then, and knows no goodbye. */
void socket_before_exit(void) {
    struct shielded entry;
    for (u64 fd = 0; is_counted() && fd < table_end(); fd++) {
        if (!get(fd, &entry)) continue;
        struct lock_guard lock;
        lock_take(&lock, true);
        socket_closed((int)fd, &entry);
        table_drop(fd);
        lock_give(&lock);
    }
}

/* What it is known by in both images, 0 for none; then its state. */
void socket_carry_write(struct writer *writer, put_bytes *put, const struct shielded *entry) {
    const struct connection *c = ptr_of(entry->object);
    const bool moved = c && c->mover == (u32)SYS0(__NR_getpid);
    const u64 known = moved ? entry->object : 0;
    put(writer, &known, sizeof known);
    if (!moved) return;
    struct carried carried = {.client = c->client, .shut = c->shut, .owes = c->owes, .owed = c->owed};
    carried.waiting = c->waiting_end - c->waiting_at;
    carried.plain = c->plain ? c->plain_end - c->plain_at : 0;
    carried.partial = c->partial ? c->partial_size : 0;
    carried.early = c->early ? c->early_size : 0;
    carried.handshake = c->handshake ? sizeof *c->handshake : 0;
    carried.place = c->place;
    carried.queued = c->plain_queued;
    memcpy(&carried.tls, &c->tls, sizeof c->tls);
    put(writer, &carried, sizeof carried);
    if (carried.handshake) put(writer, c->handshake, carried.handshake);
    if (carried.waiting) put(writer, c->waiting + c->waiting_at, carried.waiting);
    if (carried.plain) put(writer, c->plain + c->plain_at, carried.plain);
    if (carried.partial) put(writer, c->partial, carried.partial);
    if (carried.early) put(writer, c->early, carried.early);
    wipe(&carried, sizeof carried);
}

static bool read_block(struct reader *reader, u32 size, u8 **block) {
    if (!size) return true;
    const u8 *bytes = size <= SOCKET_BLOCK ? read_bytes(reader, size) : NULL;
    if (!bytes) return false;
    if (!*block) *block = socket_block();
    if (*block) memcpy(*block, bytes, size);
    return *block;
}

static bool read_blocks(struct reader *reader, struct connection *c, const struct carried *carried) {
    u8 *handshake = NULL;
    if (!read_block(reader, carried->handshake, &handshake)) return false;
    c->handshake = (struct tls_handshake *)(void *)handshake;
    if (c->handshake) c->handshake->config = NULL; /* connection_step finds it: the policy is not read yet */
    return read_block(reader, carried->waiting, &c->waiting) && read_block(reader, carried->plain, &c->plain) &&
           read_block(reader, carried->partial, &c->partial) && read_block(reader, carried->early, &c->early);
}

static struct connection *restore(struct reader *reader, const struct carried *carried) {
    struct connection *c = socket_connection();
    if (!c) return NULL;
    c->client = carried->client, c->shut = carried->shut, c->owes = carried->owes, c->owed = carried->owed;
    c->place = carried->place;
    c->waiting_end = carried->waiting;
    c->plain_end = carried->plain;
    c->plain_queued = carried->queued;
    c->partial_size = carried->partial;
    c->early_size = carried->early;
    memcpy(&c->tls, &carried->tls, sizeof c->tls);
    if (read_blocks(reader, c, carried)) return c;
    socket_connection_drop(c);
    return NULL;
}

u64 socket_carry_read(struct reader *reader) {
    static struct {
        u64 known, object;
    } seen[CARRIED_MOST] BEHIND; /* the same connection on other numbers is the same */
    const u8 *bytes = read_bytes(reader, sizeof(u64));
    const u64 known = bytes ? load64(bytes) : 0;
    if (!known) return 0;
    bytes = read_bytes(reader, sizeof(struct carried));
    if (!bytes) return 0;
    struct carried carried;
    memcpy(&carried, bytes, sizeof carried);
    struct connection *c = restore(reader, &carried);
    wipe(&carried, sizeof carried);
    for (int i = 0; i < CARRIED_MOST; i++) {
        if (seen[i].known == known) {
            if (c) socket_connection_drop(c);
            return seen[i].object;
        }
        if (seen[i].known) continue;
        seen[i].known = known;
        seen[i].object = addr_of(c);
        break;
    }
    return addr_of(c);
}
