#include "guard_console.h"

#include "../shield/console_record.h"
#include "bytes.h"
#include "guard_keep.h"
#include "state.h"

enum { NO_SIGNAL = 0x4000 /* MSG_NOSIGNAL */, NO_WAIT = 0x40 /* MSG_DONTWAIT */, POLL_OUT = 4, PATIENCE = 30 * 1000 };
enum { WRITERS = 128 };

struct ending {
    u32 status, count[2]; /* low half first: nothing is between the two */
};

static u32 first_status;

/* Who wrote last: of a thread that is not here its last record is long sent. */
static struct {
    u32 tid;
    u64 number;
} writers[WRITERS];
static u32 next_writer;

static void seal_and_send(int console, u8 *record, u64 number, u8 kind, u64 text_size) {
    u8 key[AEAD_KEY];
    console_record_key(key, state.handoff_key, "end");
    u64 size = console_record_seal(record, key, number, kind, text_size);
    wipe(key, sizeof key);
    SYS6(__NR_sendto, console, record, size, NO_SIGNAL | NO_WAIT, 0, 0);
}

/* The number of the record is its kind: each is sent once. */
static void tell(int console, u8 kind) {
    u8 record[RECORD_EXTRA + sizeof(struct ending)];
    u64 count = guard_kept(WORD_OUTPUT) + 1; /* HELLO is the first */
    const struct ending ending = {first_status, {(u32)count, (u32)(count >> 32)}};
    memcpy(record + RECORD_HEAD, &ending, sizeof ending);
    seal_and_send(console, record, kind, kind, sizeof ending);
}

void guard_console_numbered(u32 tid, u64 number) {
    for (u32 i = 0; i < WRITERS; i++)
        if (writers[i].tid == tid) {
            writers[i].number = number;
            return;
        }
    writers[next_writer].tid = tid;
    writers[next_writer].number = number;
    next_writer = (next_writer + 1) % WRITERS;
}

/* Its number follows those of EXIT and END. */
void guard_console_lost(int console, u32 tid) {
    u8 record[RECORD_EXTRA];
    for (u32 i = 0; console >= 0 && i < WRITERS; i++)
        if (writers[i].tid == tid) {
            seal_and_send(console, record, OUTPUT_LOST + writers[i].number, OUTPUT_LOST, 0);
            writers[i].tid = 0;
        }
}

/* Where there is no room for it, the last one says the same. The guard must not wait while processes wait for it. */
void guard_console_ended(int console, int status) {
    first_status = (u32)status;
    if (console >= 0) tell(console, OUTPUT_EXIT);
}

void guard_console_over(int console) {
    struct {
        int fd;
        u16 events, returned;
    } polled = {.fd = console, .events = POLL_OUT};
    if (console < 0) return;
    SYS3(__NR_poll, &polled, 1, PATIENCE);
    tell(console, OUTPUT_END);
}
