/* The runtime's own writing and reading of a handed-on block (handoff_write.c, handoff.c), as an ordinary program.
 *
 * usage: handoff_block BLOCK SIZE [WORD...]   The words are argv, the environment is its own. SIZE: bytes of the manifest; the
 * injected files are three times as large. Writes the block to BLOCK, prints the key, reads the block back and compares. */
#include "rt.h"

#include "handoff.c"
#include "handoff_write.c"

int printf(const char *format, ...);
int atoi(const char *text);
int strcmp(const char *a, const char *b);
void *malloc(size_t size);
void abort(void);
void exit(int status);
extern char **environ;

struct state state;
const char *__asan_default_options(void) { return "detect_leaks=0"; }

/* In place of secret memory, the gate, the program's stack and what ends the process. */
long secret_map(u64 address, u64 length, int protection, int flags) {
    return SYS6(__NR_mmap, address, length, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}
void areas_put(u64 start, u64 end, int kind, int protection) { (void)start, (void)end, (void)kind, (void)protection; }
void areas_drop(u64 start, u64 end) { (void)start, (void)end; }
void secret_wipe(u64 start, u64 length, u8 *residency) { (void)residency, memset(ptr_of(start), 0, length); }
static int locks_held;
void lock_take(struct lock_guard *guard, bool blocked) { guard->blocked = blocked, locks_held++; }
void lock_give(struct lock_guard *guard) { guard->blocked = false, locks_held--; }
long rt_ask_key(u8 key[AEAD_KEY], u64 vdso, u64 size) { return (void)vdso, (void)size, key ? -ENOSYS : 0; }
void fail(int code, const char *what, long error, const char *fix) {
    (void)fix;
    printf("refused %ld: %s\n", error, what);
    exit(code);
}
void fail_secret_memory(long error) { fail(3, "memory", error, NULL); }
const char *stack_push(struct program_stack *stack, const void *bytes, size_t size) {
    char *copy = malloc(size + 1);
    (void)stack, memcpy(copy, bytes, size), copy[size] = 0;
    return copy;
}
void stack_expect(struct program_stack *stack, u64 words) { (void)stack, (void)words; }

void stack_add(struct program_stack *stack, struct words *list, const char *word, size_t size) {
    list->word[list->count++] = (char *)stack_push(stack, word, size);
}

static struct region filled(u64 size, u8 seed) {
    u8 *bytes = malloc(size + 1);
    for (u64 i = 0; i < size; i++) bytes[i] = (u8)(seed + i * 7 + (i >> 8));
    return (struct region){.at = addr_of(bytes), .size = size};
}

static bool same_region(struct region a, struct region b) {
    return a.size == b.size && (!a.size || memcmp(ptr_of(a.at), ptr_of(b.at), a.size) == 0);
}

static bool same_words(char *const *words, const struct words *list) {
    u64 n = 0;
    while (words[n] && n < list->count && !strcmp(words[n], list->word[n])) n++;
    return !words[n] && n == list->count;
}

static void keep(const char *path, int fd) {
    static u8 bytes[64 << 20];
    long size = SYS4(__NR_pread64, fd, bytes, sizeof bytes, 0), out = SYS3(__NR_open, path, WRITE_ONLY | CREATE, 0600);
    if (SYS3(__NR_write, out, bytes, size) != size) abort();
    SYS1(__NR_close, out);
}

int main(int count, char **word) {
    if (count < 3) return 2;
    handoff_make_key();
    for (size_t i = 0; i < sizeof state.handoff_key; i++) printf("%02x", state.handoff_key[i]);
    state.manifest = filled((u64)atoi(word[2]), 1);
    state.files = filled((u64)atoi(word[2]) * 3, 2);
    memcpy(state.attester, "/run/attester", 14);
    memcpy(state.root_program, "/usr/bin/program", 17);
    memset(state.root_digest, 0xd1, sizeof state.root_digest);
    memset(state.broker, 0xb0, sizeof state.broker);
    struct state before = state;
    const struct image image = {.path = "/a/program", .program_fd = 7, .arguments = word + 3, .environment = environ};
    long fd = handoff_write(&image);
    if (failed(fd)) return printf("\nerror %ld\n", fd), 1;
    keep(word[1], (int)fd);
    if (locks_held) return printf("\nlocked\n"), 1;
    state = (struct state){0};
    memcpy(state.handoff_key, before.handoff_key, sizeof state.handoff_key);
    static char *lists[2][1 << 16];
    struct program_stack stack = {.arguments = {.word = lists[0]}, .environment = {.word = lists[1]}};
    struct options options = {.handoff_fd = (int)fd, .program_fd = -1, .program = "/another"};
    handoff_read(&options, &stack);
    printf("\nprogram %d words %d %d", !strcmp(options.program, "/a/program") && options.program_fd == 7, same_words(word + 3, &stack.arguments), same_words(environ, &stack.environment));
    printf(" regions %d %d", same_region(state.manifest, before.manifest), same_region(state.files, before.files));
    printf(" texts %d %d", !strcmp(state.attester, before.attester), !strcmp(state.root_program, before.root_program));
    printf(" digest %d\n", memcmp(state.root_digest, before.root_digest, sizeof state.root_digest) == 0 && memcmp(state.broker, before.broker, sizeof state.broker) == 0);
    return 0;
}
