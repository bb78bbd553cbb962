/* Roots at the broker (docs/formats/shield.md, cloister.broker.root_report): after a durable commit the broker hears of the volume's new
 * root, by way of the carrier, and acknowledges it. Neither can be made without the volume's key, so the carrier can only keep
 * them back. What was not acknowledged is on the disk, but an older state may pass for the newest at the next start: then the caller's
 * fsync fails. */
#include "bytes.h"
#include "carrier.h"
#include "hmac.h"
#include "mount_arena.h"
#include "state.h"

enum { NAME_MOST = 2048, MESSAGE_MOST = 4 + NAME_MOST + 8 + 32, REPORT_SECONDS = 10 };

struct report {
    u8 bytes[MESSAGE_MOST + SHA256_SIZE]; /* name, generation, digest; then their code */
    u32 size;                             /* without the code */
};

static u64 acknowledged[MOUNTS_MOST] BEHIND; /* generations, as far as this process knows */

/* HKDF-SHA-256 (RFC 5869) without salt, of one block. */
static void derive(const u8 key[KEY_SIZE], const char *info, u8 derived[SHA256_SIZE]) {
    static const u8 nothing[SHA256_SIZE];
    struct hmac hmac;
    hmac_start(&hmac, nothing, sizeof nothing);
    hmac_add(&hmac, key, KEY_SIZE);
    hmac_finish(&hmac, derived);
    hmac_start(&hmac, derived, SHA256_SIZE);
    hmac_add(&hmac, info, strlen(info));
    hmac_add(&hmac, "\1", 1);
    hmac_finish(&hmac, derived);
}

static void code_of(const struct report *report, const u8 key[KEY_SIZE], const char *info, u8 code[SHA256_SIZE]) {
    u8 derived[SHA256_SIZE];
    struct hmac hmac;
    derive(key, info, derived);
    hmac_start(&hmac, derived, sizeof derived);
    hmac_add(&hmac, report->bytes, report->size);
    hmac_finish(&hmac, code);
    wipe(derived, sizeof derived);
}

static void add(struct report *report, const void *bytes, u32 size) {
    memcpy(report->bytes + report->size, bytes, size);
    report->size += size;
}

static void write_report(struct report *report, const struct mount *mount, const struct volume_root *root) {
    const struct text *name = &mount->entry->name;
    report->size = 0;
    add(report, &name->size, sizeof name->size);
    add(report, name->bytes, name->size);
    add(report, &root->generation, sizeof root->generation);
    add(report, root->digest, sizeof root->digest);
    code_of(report, mount->key, "cloister root 1 report", report->bytes + report->size);
}

/* In constant time: whoever answers may guess as often as there are reports. */
static bool is_acknowledged(const struct report *report, const struct mount *mount, const struct region *answer) {
    u8 code[SHA256_SIZE], different = 0;
    code_of(report, mount->key, "cloister root 1 acknowledged", code);
    if (answer->size != sizeof code) return false;
    const u8 *given = ptr_of(answer->at);
    for (u32 i = 0; i < sizeof code; i++) different |= code[i] ^ given[i];
    return !different;
}

static long ask(const struct report *report, const struct mount *mount) {
    struct talk talk;
    long error = talk_open(&talk, REPORT_SECONDS);
    if (failed(error)) return error;
    error = talk_send(&talk, CLOISTER_FRAME_ROOT, report->bytes, report->size + SHA256_SIZE);
    if (!failed(error)) error = talk_receive(&talk, CLOISTER_FRAME_ROOTED);
    if (!failed(error) && !is_acknowledged(report, mount, &talk.answer)) error = -EBADMSG;
    talk_close(&talk);
    return error;
}

static bool is_reported(const struct mount *mount) { return mount->entry->flags & FILES_REPORT_ROOT; }

long mount_report_root(const struct mount *mount, const struct volume_root *root) {
    const struct shield_files *entry = mount->entry;
    struct report report;
    if (!is_reported(mount) || root->generation <= acknowledged[entry->index]) return 0;
    if (!state.attester[0] || !entry->name.size || entry->name.size > NAME_MOST) return -EREMOTEIO;
    write_report(&report, mount, root);
    if (failed(ask(&report, mount))) return -EREMOTEIO;
    acknowledged[entry->index] = root->generation;
    return 0;
}

/* The name that this start reports under, in few bytes. */
static void name_writer(const struct text *name, u8 writer[WRITER_SIZE]) {
    u8 digest[SHA256_SIZE];
    struct sha256 hash;
    sha256_start(&hash);
    sha256_add(&hash, name->bytes, name->size);
    sha256_finish(&hash, digest);
    memcpy(writer, digest, WRITER_SIZE);
}

long mount_take_over(struct mount *mount, bool first) {
    u8 writer[WRITER_SIZE];
    if (!is_reported(mount)) return 0;
    name_writer(&mount->entry->name, writer);
    volume_set_writer(mount->arena->volume, writer);
    return first ? mount_report_root(mount, state_root(mount)) : 0;
}
