#include "attested.h"

#include "../tls/ra_certificate.h"
#include "../tls/tls.h"
#include "bytes.h"
#include "carrier.h"
#include "state.h"

enum {
    ROOM = TLS_CHAIN_MOST, LENGTH = 4, KEY_TRIES = 4, REAL_TIME = 0 /* CLOCK_REALTIME */,
    ATTESTER_SECONDS = 10, AGAIN_SECONDS = 60, SKEW_SECONDS = 300, LIFE_SECONDS = 86400, RENEWAL_SECONDS = LIFE_SECONDS / 3 * 2,
};

struct slot {
    struct attested attested;
    int64_t made_at; /* seconds since 1970; 0: never */
    u8 room[ROOM];
};

/* A handshake may be reading one while the other is made. */
static struct slot slots[2] BEHIND;
static u32 current BEHIND;
static int64_t failed_at BEHIND;

static int64_t now(void) {
    int64_t time[2] = {0};
    SYS2(__NR_clock_gettime, REAL_TIME, time);
    return time[0];
}

static long random_bytes(u8 *to, size_t size) {
    const long n = SYS3(__NR_getrandom, to, size, 0);
    return failed(n) ? n : (size_t)n == size ? 0 : -EIO;
}

static long make_key(struct private_key *key) {
    u8 random[32];
    long error = -EIO;
    for (int i = 0; i < KEY_TRIES && failed(error); i++) {
        error = random_bytes(random, sizeof random);
        if (!failed(error) && !private_key_make(key, random)) error = -EIO;
    }
    wipe(random, sizeof random);
    return error;
}

static long write_certificate(struct slot *slot, const struct region *evidence, int64_t time) {
    u8 random[SIGNING_RANDOM + 16], *der = NULL;
    const long error = random_bytes(random, sizeof random);
    if (failed(error)) return error;
    const struct ra_certificate made = {
        .key = &slot->attested.key, .evidence = ptr_of(evidence->at), .evidence_size = evidence->size,
        .not_before = time - SKEW_SECONDS, .not_after = time + LIFE_SECONDS,
    };
    const size_t size = ra_certificate_make(&made, random, slot->room + LENGTH, ROOM - LENGTH, &der);
    wipe(random, sizeof random);
    if (!size) return -EMSGSIZE;
    store32(der - LENGTH, (u32)size);
    slot->attested.chain = der - LENGTH;
    slot->attested.chain_size = size + LENGTH;
    return 0;
}

/* The evidence stands in talk's answer then. Whoever carries it can put none of another enclave there: the peer's verifier finds the
 * key's digest in it. */
static long ask_attester(struct talk *talk, const struct private_key *key) {
    u8 report_data[RA_REPORT_DATA];
    ra_report_data(key, report_data);
    long error = talk_send(talk, CLOISTER_FRAME_EVIDENCE_WANTED, report_data, sizeof report_data);
    return failed(error) ? error : talk_receive(talk, CLOISTER_FRAME_EVIDENCE);
}

static long make(struct slot *slot, int64_t time) {
    struct talk talk;
    if (!state.attester[0]) return -ENOTCONN;
    slot->made_at = 0;
    long error = make_key(&slot->attested.key);
    if (failed(error)) return error;
    error = talk_open(&talk, ATTESTER_SECONDS);
    if (failed(error)) return error;
    error = ask_attester(&talk, &slot->attested.key);
    if (!failed(error)) error = write_certificate(slot, &talk.answer, time);
    talk_close(&talk);
    if (!failed(error)) slot->made_at = time;
    return error;
}

static bool is_within(const struct slot *slot, int64_t time, int64_t seconds) {
    return slot->made_at && time >= slot->made_at - SKEW_SECONDS && time < slot->made_at + seconds;
}

/* An attester that cannot be asked ends nothing while the certificate holds, and is left alone for a while. */
long attested_now(const struct attested **attested) {
    const int64_t time = now();
    struct slot *held = &slots[current], *next = &slots[1 - current];
    const bool holds = is_within(held, time, LIFE_SECONDS);
    *attested = &held->attested;
    if (is_within(held, time, RENEWAL_SECONDS)) return 0;
    if (holds && time >= failed_at && time < failed_at + AGAIN_SECONDS) return 0;
    const long error = make(next, time);
    if (failed(error)) {
        failed_at = time;
        return holds ? 0 : error;
    }
    current = 1 - current;
    *attested = &next->attested;
    return 0;
}
