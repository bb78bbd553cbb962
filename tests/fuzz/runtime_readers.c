/* The runtime's readers of what others hand to it, as an ordinary program under the address and undefined-behaviour sanitizers.
 *
 * Reads inputs from standard input, each u8 kind, u32 size, then so many bytes, and prints one line for each:
 *
 *   m  a manifest                       "refused", or the digest
 *   b  a start block                    "refused", or how many arguments, variables, bytes of files
 *   r  a start block of a refresh       the same without words
 *   f  injected files                   "refused", or how many
 *   h  what stands in a handed-on block, which is sealed here      "refused", or how many arguments and variables
 *   s  a shield block                   "refused", or its switches and how many regions, ports, destinations
 *   x  a handed-on block as it is       "refused"
 *   d  a certificate (DER)              "refused", or its key's digest and its dates
 *   p  a SubjectPublicKeyInfo           "refused", or its kind
 *   k  a private key (PKCS #8)          "refused", or its kind
 *   c  a carrier's side of the first conversation                  "refused", never anything else
 *
 * What would end the process comes back here. Every region has exactly the bytes that it says, so that the sanitizers see its end. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../runtime/tls/x509.h"
#include "rt.h"

/* The C library's copying is the one that the sanitizers watch. */
#define memcpy rt_memcpy
#define memset rt_memset
#define memcmp rt_memcmp
#define strlen rt_strlen
#include "text.c"
#undef memcpy
#undef memset
#undef memcmp
#undef strlen

#include "region.h"
#define region_create paged_region_create
#define region_drop paged_region_drop
#include "region.c"
#undef region_create
#undef region_drop

#include "block.c"
#include "fail.h"
#include "handoff.c"
#include "manifest.c"
#include "../shield/policy.h"

#define check files_check
#define refresh files_refresh
#define digest files_digest
#define find files_find
#include "files.c"
#undef check
#undef refresh
#undef digest
#undef find

#define refuse provision_refuse
#include "carrier.h"
#define talk_open connecting_talk_open
#include "carrier.c"
#undef talk_open
#define header talk_header
#include "provision.c"

enum { LARGEST = 1 << 20, MOST_KEPT = 1 << 18, MOST_WORDS = 1 << 16 };
static jmp_buf back;
static void *kept[MOST_KEPT]; /* given back after each input */
static int kept_count, sock = -1;
struct state state;
const char *__asan_default_options(void) { return "detect_leaks=0:allocator_may_return_null=1"; }

static void *hold(u64 size) {
    if (kept_count == MOST_KEPT) longjmp(back, 1);
    void *made = calloc(1, size + !size);
    if (!made) abort();
    return kept[kept_count++] = made;
}

static void forget(void) {
    while (kept_count) free(kept[--kept_count]);
    memset(&state, 0, sizeof state);
    memset(&talk, 0, sizeof talk);
}

/* In place of secret memory, and of the files that are not tried here. */
long region_create(struct region *region, u64 size) {
    *region = (struct region){.at = addr_of(hold(size)), .size = size};
    return 0;
}
void region_drop(struct region *region) { *region = (struct region){0}; }
long secret_map(u64 address, u64 length, int protection, int flags) {
    return SYS6(__NR_mmap, address, length, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}
void areas_put(u64 start, u64 end, enum area_kind kind, int protection) { (void)start, (void)end, (void)kind, (void)protection; }
void areas_drop(u64 start, u64 end) { (void)start, (void)end; }
void secret_wipe(u64 start, u64 length, u8 *residency) { (void)start, (void)length, (void)residency; }
void fail(int code, const char *what, long error, const char *fix) {
    (void)code, (void)error, (void)fix;
    if (!strlen(what)) abort();
    longjmp(back, 1);
}
void fail_program(int code, const char *path, const char *what, const char *fix) { (void)path, fail(code, what, 0, fix); }
void fail_secret_memory(long error) { fail(3, "memory", error, NULL); }
void require(long result, const char *what) { if (failed(result)) fail(3, what, result, NULL); }
long read_exactly(int fd, void *to, u64 length, u64 offset) { return pread(fd, to, length, (long)offset) == (ssize_t)length ? 0 : -EIO; }
__asm__(".pushsection .text\n.globl rt_ask_key\nrt_ask_key: xor %eax, %eax\nret\n.popsection\n"); /* not called */
u32 filter_files_base(void) { return 0; }
u64 placeholder_mac(const struct file *file) { return file->size; }
void placeholder_forget_tags(void) {}
long placeholder_find(int fd, struct file *out) { return fd && out ? NOT_INJECTED : NOT_INJECTED; }
long placeholder_open(const struct file *file, u64 flags) { return file && flags ? -ENOSYS : -ENOSYS; }
long talk_open(struct talk *with, u64 seconds) {
    (void)seconds;
    *with = (struct talk){.fd = sock};
    return 0;
}
char *stack_new_word(struct program_stack *stack, struct words *list, u64 size) {
    (void)stack;
    if (list->count == MOST_WORDS) fail(126, "too many words", E2BIG, NULL);
    return list->word[list->count++] = hold(size + 1);
}
const char *stack_push(struct program_stack *stack, const void *bytes, size_t size) { return (void)stack, memcpy(hold(size + 1), bytes, size); }
void stack_expect(struct program_stack *stack, u64 words) { (void)stack, (void)words; }

void stack_add(struct program_stack *stack, struct words *list, const char *word, size_t size) { memcpy(stack_new_word(stack, list, size), word, size); }

static struct program_stack new_stack(void) {
    static char *lists[2][MOST_WORDS];
    return (struct program_stack){.arguments = {.word = lists[0]}, .environment = {.word = lists[1]}};
}

/* Every word is a string that ends where it was kept. */
static void look_at(const struct words *list) {
    for (u64 i = 0; i < list->count; i++)
        if (strlen(list->word[i]) > LARGEST) abort();
}

static struct region copied(const u8 *bytes, u32 size) {
    struct region made;
    (void)!region_create(&made, size);
    memcpy(ptr_of(made.at), bytes, size);
    return made;
}

static void try_manifest(void) {
    static const char *const asked[] = {"/", "/lib", "/lib/", "/usr/lib/python3.11/a b.py", "/f1", "broker", ""};
    u8 digest[SHA256_SIZE];
    unsigned found = 0;
    if (!admission_check_manifest()) longjmp(back, 1);
    admission_manifest_digest(digest);
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        const u8 *listed = manifest_find(asked[i]);
        found += (listed ? listed[SHA256_SIZE - 1] : 0U) + manifest_closes(asked[i]) + manifest_has_digest(digest);
    }
    if (manifest_broker()) found += manifest_broker()[SHA256_SIZE - 1];
    for (int i = 0; i < SHA256_SIZE; i++) printf("%02x", digest[i]);
    puts(found == ~0U ? " " : "");
}

static int count_files(void) {
    struct file file;
    int count = 0;
    unsigned sum = 0;
    for (; file_at((u32)count, &file); count++) {
        if (file.path_size) sum += (u8)file.path[0] + (u8)file.path[file.path_size - 1];
        if (file.size) sum += file.content[0] + file.content[file.size - 1];
    }
    if (file_called("/run/key", &file) && sum == ~0U) puts("");
    return count;
}

static void try_handoff(const u8 *bytes, u32 size, bool seal) {
    struct handoff_header header_bytes = {.magic = HANDOFF_MAGIC, .version = CLOISTER_ABI_VERSION};
    u8 tag[AEAD_TAG], *text = hold(size);
    struct program_stack stack = new_stack();
    int fd = memfd_create("block", 0);
    memcpy(text, bytes, size);
    if (seal) {
        struct aead aead;
        aead_start(&aead, state.handoff_key, header_bytes.nonce, &header_bytes, sizeof header_bytes);
        aead_encrypt(&aead, text, size);
        aead_finish(&aead, tag);
        if (write(fd, &header_bytes, sizeof header_bytes) < 0) abort();
    }
    if (write(fd, text, size) < 0 || (seal && write(fd, tag, sizeof tag) < 0)) abort();
    struct options options = {.handoff_fd = fd};
    handoff_read(&options, &stack);
    if (strlen(options.program) > LARGEST) abort();
    look_at(&stack.arguments), look_at(&stack.environment);
    printf("%llu %llu\n", (unsigned long long)stack.arguments.count, (unsigned long long)stack.environment.count);
}

/* Each has exactly its size, which AddressSanitizer watches. */
static void try_der(int kind, const u8 *bytes, u32 size) {
    u8 *der = hold(size), pin[SHA256_SIZE];
    struct x509 certificate;
    struct public_key public_key;
    struct private_key private_key;
    memcpy(der, bytes, size);
    if (kind == 'd') {
        if (!x509_read(&certificate, der, size)) longjmp(back, 1);
        x509_pin(&certificate, pin);
        for (int i = 0; i < SHA256_SIZE; i++) printf("%02x", pin[i]);
        printf(" %lld %lld\n", (long long)certificate.not_before, (long long)certificate.not_after);
    } else if (kind == 'p') {
        if (!public_key_read(&public_key, der, size)) longjmp(back, 1);
        printf("%d\n", (int)public_key.kind);
    } else {
        if (!private_key_read(&private_key, der, size)) longjmp(back, 1);
        printf("%d\n", (int)private_key.kind);
    }
}

static void try_conversation(const u8 *bytes, u32 size) {
    struct program_stack stack = new_stack();
    const struct words given = {0};
    int ends[2], room = 2 << 20;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends)) abort();
    setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    if (send(ends[1], bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)size) size = 0;
    shutdown(ends[1], SHUT_WR);
    sock = ends[0];
    if (!setjmp(back)) {
        provision_begin();
        provision_finish(&stack, &given);
        puts("provisioned");
    } else puts("refused");
    close(ends[0]), close(ends[1]);
}

static void try_one(int kind, const u8 *bytes, u32 size) {
    struct program_stack stack = new_stack();
    struct region input = copied(bytes, size);
    if (kind == 'm') state.manifest = input, try_manifest();
    if (kind == 's') {
        state.shield = input;
        policy_begin();
        printf("%d %d %u %u %u\n", policy.strict, policy.network, policy.files_count, policy.listen_count, policy.connect_count);
    }
    if (kind == 'b') {
        state.handoff_required = true; /* as --shield has it */
        block_take(region_read(&input), &stack);
        look_at(&stack.arguments), look_at(&stack.environment);
        printf("%llu %llu %llu\n", (unsigned long long)stack.arguments.count, (unsigned long long)stack.environment.count,
               (unsigned long long)state.files.size + 0 * (unsigned)count_files());
    }
    if (kind == 'r') {
        if (!block_renew_files(region_read(&input))) longjmp(back, 1);
        printf("%d\n", count_files());
    }
    if (kind == 'f') {
        state.files = input;
        files_begin();
        printf("%d\n", count_files());
    }
    if (kind == 'd' || kind == 'p' || kind == 'k') try_der(kind, bytes, size);
    if (kind == 'h' || kind == 'x') try_handoff(bytes, size, kind == 'h');
}

int main(void) {
    static u8 all[LARGEST];
    int kind;
    u32 size;
    while ((kind = getchar()) != EOF) {
        if (fread(&size, sizeof size, 1, stdin) != 1 || size > LARGEST || fread(all, 1, size, stdin) != size) return 2;
        if (kind == 'c') try_conversation(all, size);
        else if (!setjmp(back)) try_one(kind, all, size);
        else puts("refused");
        fflush(stdout);
        forget();
    }
    return 0;
}
