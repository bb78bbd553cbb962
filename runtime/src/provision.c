#include "provision.h"

#include "admission.h"
#include "block.h"
#include "bytes.h"
#include "carrier.h"
#include "fail.h"
#include "files.h"
#include "hpke.h"
#include "manifest.h"
#include "state.h"

enum { NONCE_MAX = 256, KEY_TEXT = 43, REPORT_DATA = 64, RUNTIME_DATA = 512, MESSAGE = 900, REFRESH_SECONDS = 10 };

struct hello {
    u32 abi, flags;
};

struct statement {
    u8 executable[SHA256_SIZE], libraries[SHA256_SIZE], key[X25519_SIZE];
};

static struct talk talk; /* open from provision_begin to provision_finish */

static __attribute__((noreturn)) void refuse(const char *what, long error) {
    fail(CLOISTER_EXIT_NOT_PROVISIONED, what, error, "cloister run --broker URL --session NAME -- PROGRAM   starts the carrier too");
}

/* The carrier's words, as far as a terminal may show them. */
static __attribute__((noreturn)) void refuse_as_told(void) {
    struct reader reader = region_read(&talk.answer);
    char text[MESSAGE];
    u64 at = 0;
    (void)read_u32(&reader);
    for (; reader.at < reader.end && at + 1 < sizeof text; reader.at++) {
        bool plain = *reader.at >= ' ' && *reader.at != 0x7f && *reader.at < 0x80;
        text[at++] = plain || *reader.at == '\n' ? (char)*reader.at : '?';
    }
    text[at] = 0;
    fail(CLOISTER_EXIT_NOT_PROVISIONED, at ? text : "no secrets were released", 0, NULL);
}

static void require_talk(long error, const char *what) {
    if (error == -EACCES) refuse_as_told();
    if (error == -EKEYREJECTED) refuse("what came was sealed by another broker than the manifest names", 0);
    if (failed(error)) refuse(what, error);
}

void provision_begin(void) {
    const struct hello hello = {CLOISTER_ABI_VERSION, state.unsafe_no_guard ? 0 : CLOISTER_HELLO_GUARDED};
    require_talk(talk_open(&talk, 0), "the carrier, which speaks to the broker, does not listen");
    require_talk(talk_send(&talk, CLOISTER_FRAME_HELLO, &hello, sizeof hello), "the carrier is gone");
    require_talk(talk_receive(&talk, CLOISTER_FRAME_MANIFEST), "the carrier sent no manifest");
    state.manifest = talk.answer;
    talk.answer = (struct region){0};
    if (!state.manifest.size || !admission_check_manifest()) refuse("the manifest is missing or damaged", 0);
}

/* RFC 4648, section 5, without padding. */
static size_t append_base64url(char *to, size_t at, const u8 *bytes, size_t size) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    u32 bits = 0, held = 0;
    for (size_t i = 0; i < size; i++) {
        bits = (bits & 0xff) << 8 | bytes[i]; /* at most 5 bits are left over from before */
        for (held += 8; held >= 6; held -= 6) to[at++] = letters[bits >> (held - 6) & 63];
    }
    if (held) to[at++] = letters[bits << (6 - held) & 63];
    to[at] = 0;
    return at;
}

/* Whatever else stood in a nonce could end its string and name another key. */
static bool is_base64(const u8 *text, u64 size) {
    for (u64 i = 0; i < size; i++) {
        u8 c = text[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!letter && c != '+' && c != '/' && c != '=' && c != '-' && c != '_') return false;
    }
    return size > 0 && size < NONCE_MAX;
}

/* What the evidence is to say: SHA-384 of the nonce and the key as the KBS protocol writes them, zeros behind it. */
static bool make_report_data(const struct region *nonce, const u8 key[X25519_SIZE], u8 report[REPORT_DATA]) {
    char text[RUNTIME_DATA];
    const u8 *given = ptr_of(nonce->at);
    if (!is_base64(given, nonce->size)) return false;
    size_t at = append(text, 0, sizeof text, CLOISTER_RUNTIME_DATA_BEFORE_NONCE);
    memcpy(text + at, given, nonce->size);
    at = append(text, at + nonce->size, sizeof text, CLOISTER_RUNTIME_DATA_BEFORE_KEY);
    at = append_base64url(text, at, key, X25519_SIZE);
    at = append(text, at, sizeof text, CLOISTER_RUNTIME_DATA_END);
    memset(report, 0, REPORT_DATA);
    sha384(text, at, report);
    return true;
}

/* The key that the manifest names, so that evidence names it too; else whichever gave this enclave its first secrets. */
static bool is_our_broker(const u8 key[X25519_SIZE]) {
    static const u8 nobody[X25519_SIZE];
    const u8 *named = manifest_broker();
    if (!named && memcmp(state.broker, nobody, X25519_SIZE) != 0) named = state.broker;
    return !named || memcmp(key, named, X25519_SIZE) == 0;
}

/* From the challenge to the plaintext, which then stands in talk's answer behind the two keys. */
static long receive_sealed(struct talk *with, const u8 private_key[X25519_SIZE], const u8 key[X25519_SIZE], struct reader *plain) {
    u8 report[REPORT_DATA];
    long error = talk_receive(with, CLOISTER_FRAME_NONCE);
    if (failed(error)) return error;
    if (!make_report_data(&with->answer, key, report)) return -EPROTO;
    error = talk_send(with, CLOISTER_FRAME_QUOTE, report, sizeof report);
    if (!failed(error)) error = talk_receive(with, CLOISTER_FRAME_SEALED);
    if (failed(error)) return error;
    struct reader reader = region_read(&with->answer);
    const u8 *sender = read_bytes(&reader, X25519_SIZE), *encapsulated = read_bytes(&reader, X25519_SIZE);
    u64 size = (u64)(reader.end - reader.at);
    if (!encapsulated || size < AEAD_TAG) return -EPROTO;
    if (!is_our_broker(sender)) return -EKEYREJECTED;
    u8 *text = ptr_of(addr_of(reader.at));
    if (!hpke_open(private_key, encapsulated, sender, CLOISTER_PROTECTED_HEADER, sizeof CLOISTER_PROTECTED_HEADER - 1, text, size)) return -EBADMSG;
    memcpy(state.broker, sender, sizeof state.broker);
    *plain = (struct reader){.at = text, .end = text + size - AEAD_TAG};
    return 0;
}

/* Which program this is, and a key of its own for this one conversation. */
static long make_statement(struct statement *statement, u8 private_key[X25519_SIZE]) {
    long error = SYS3(__NR_getrandom, private_key, X25519_SIZE, 0);
    if (error != X25519_SIZE) return failed(error) ? error : -EIO;
    memcpy(statement->executable, state.root_digest, sizeof statement->executable);
    admission_manifest_digest(statement->libraries);
    x25519_public(statement->key, private_key);
    return 0;
}

static void add_variable(struct program_stack *stack, const char *name, const char *value) {
    size_t before = strlen(name), size = before + strlen(value);
    char *word = stack_new_word(stack, &stack->environment, size);
    memcpy(word, name, before);
    memcpy(word + before, value, size - before);
}

/* The session's command line if it has one: then whoever starts the program has no say in it. */
static void settle_arguments(struct program_stack *stack, const struct words *given) {
    if (stack->arguments.count && given->count > 1)
        refuse("the session says the command line: give the program alone, without arguments", 0);
    if (stack->arguments.count) return;
    for (u64 i = 0; i < given->count; i++) {
        size_t size = strlen(given->word[i]);
        memcpy(stack_new_word(stack, &stack->arguments, size), given->word[i], size);
    }
}

void provision_finish(struct program_stack *stack, const struct words *arguments) {
    u8 private_key[X25519_SIZE];
    struct statement statement;
    struct reader plain;
    require(make_statement(&statement, private_key), "no random bytes");
    require_talk(talk_send(&talk, CLOISTER_FRAME_STATEMENT, &statement, sizeof statement), "the carrier is gone");
    require_talk(receive_sealed(&talk, private_key, statement.key, &plain), "what the carrier sent is not what the broker encrypted to this enclave");
    wipe(private_key, sizeof private_key);
    block_take(plain, stack);
    files_are_fresh();
    settle_arguments(stack, arguments);
    add_variable(stack, "CLOISTER_ATTESTER=", state.attester);
    talk_close(&talk);
}

/* Denied (4) and not attested (5) end access; that the broker cannot be asked or cannot decide does not. */
static long refusal(const struct talk *with) {
    struct reader reader = region_read(&with->answer);
    return read_u32(&reader) == 6 ? -EAGAIN : -EACCES;
}

long provision_refresh(void) {
    u8 private_key[X25519_SIZE];
    struct statement statement;
    struct talk again;
    struct reader plain;
    long error = talk_open(&again, REFRESH_SECONDS); /* the program's other threads wait for the lock meanwhile */
    if (failed(error)) return -EAGAIN;
    error = make_statement(&statement, private_key);
    if (!failed(error)) error = talk_send(&again, CLOISTER_FRAME_REFRESH, &statement, sizeof statement);
    if (!failed(error)) error = receive_sealed(&again, private_key, statement.key, &plain);
    wipe(private_key, sizeof private_key);
    if (error == -EACCES) error = refusal(&again);
    else if (failed(error)) error = -EAGAIN;
    else if (!block_renew_files(plain)) error = -EAGAIN;
    talk_close(&again);
    return error;
}
