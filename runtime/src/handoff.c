/* The key, and reading the block. Only a process of this tree can have made a block that is authentic: nobody else has the key. Nor
 * can anybody else exchange it for an older one, which would be authentic too: its descriptor passes from the process that sealed it
 * to its own new image, in a table of descriptors that only processes of the tree can change. */
#include "handoff.h"

#include <asm/stat.h>
#include <linux/mman.h>
#include <linux/prctl.h>

#include "../shield/carry.h"
#include "bytes.h"
#include "elf_file.h"
#include "fail.h"
#include "state.h"

long rt_ask_key(u8 key[AEAD_KEY], u64 vdso, u64 vdso_size); /* the guard looks at the two */

static __attribute__((noreturn)) void refuse(const char *why, long error) { fail(CLOISTER_EXIT_CANNOT_PROTECT, why, error, NULL); }

void handoff_make_key(void) {
    long n = SYS3(__NR_getrandom, state.handoff_key, sizeof state.handoff_key, 0);
    if (n != sizeof state.handoff_key) refuse("no random bytes for the key of this enclave", n);
}

static void forget_key(long required) {
    wipe(state.handoff_key, sizeof state.handoff_key);
    state.keyless = true;
    if (required > 0) refuse("this enclave executes only what comes with a sealed block; the command line was changed on the way", 0);
}

/* Registers will hold the key, so core files are forbidden meanwhile, also to those whose /proc/self this takes away. */
static long ask_key(void) {
    long answer = rt_ask_key(NULL, state.vdso, state.vdso_size);
    if (answer < 0) return answer;
    SYS2(__NR_prctl, PR_SET_DUMPABLE, 0);
    return rt_ask_key(state.handoff_key, 0, 0);
}

void handoff_do_without_key(void) { forget_key(ask_key()); }

void handoff_take_key(bool has_block) {
    long error = ask_key();
    if (error >= 0 && !has_block) forget_key(error);
    if (error < 0)
        fail(CLOISTER_EXIT_CANNOT_PROTECT, "the guard did not recognise this program's runtime, so it did not give it the key", error,
             "do not exchange the runtime's file while it is in use; where real and effective user differ, give the guard CAP_SYS_PTRACE");
}

static u64 block_size(int fd) {
    struct stat info;
    long error = SYS2(__NR_fstat, fd, &info);
    if (failed(error)) refuse("the block with this program's arguments (--handoff-fd) cannot be read", error);
    u64 size = (u64)info.st_size;
    if (size < sizeof(struct handoff_header) + AEAD_TAG || size > HANDOFF_MOST)
        refuse("the block with this program's arguments (--handoff-fd) is damaged", 0);
    return size;
}

/* The block as it is, in secret memory: what is authenticated then cannot change any more. */
static struct region load(int fd) {
    u64 size = block_size(fd);
    long at = secret_map(0, page_up(size), PROT_READ | PROT_WRITE, 0);
    if (failed(at)) fail_secret_memory(at);
    long error = read_exactly(fd, ptr_of((u64)at), size, 0);
    if (failed(error)) refuse("the block with this program's arguments (--handoff-fd) cannot be read", error);
    return (struct region){.at = (u64)at, .size = size};
}

/* The plain text, in place. */
static struct reader open_block(const struct region *block) {
    struct reader reader = region_read(block);
    struct handoff_header header;
    struct aead aead;
    memcpy(&header, read_bytes(&reader, sizeof header), sizeof header);
    reader.end -= AEAD_TAG;
    u64 size = (u64)(reader.end - reader.at);
    aead_start(&aead, state.handoff_key, header.nonce, &header, sizeof header);
    aead_decrypt(&aead, ptr_of(addr_of(reader.at)), size);
    if (!aead_verify(&aead, reader.end)) {
        memset(ptr_of(block->at), 0, block->size);
        refuse("the block with this program's arguments (--handoff-fd) was not sealed in this enclave, or was changed", 0);
    }
    if (header.magic != HANDOFF_MAGIC || header.version != CLOISTER_ABI_VERSION)
        refuse("the block with this program's arguments (--handoff-fd) is of another version of the runtime", 0);
    return reader;
}

static void read_list(struct reader *reader, struct program_stack *stack, struct words *list) {
    for (;;) {
        u32 size = read_u32(reader);
        if (size == HANDOFF_LAST || reader->bad) return;
        const u8 *word = read_bytes(reader, size);
        if (word) stack_add(stack, list, (const char *)word, size);
    }
}

static void read_region(struct reader *reader, struct region *to) {
    u32 size;
    const char *bytes = read_text(reader, &size);
    *to = (struct region){0};
    if (!size) return;
    long error = region_create(to, size);
    if (failed(error)) fail_secret_memory(error);
    memcpy(ptr_of(to->at), bytes, size);
}

static void read_string(struct reader *reader, char *to, u64 room) {
    u32 size;
    const char *bytes = read_text(reader, &size);
    if (size >= room) reader->bad = true;
    else {
        memcpy(to, bytes, size);
        to[size] = 0;
    }
}

/* In place of what the command line says. */
static void read_program(struct reader *reader, struct program_stack *stack, struct options *options) {
    u32 size;
    const char *path = read_text(reader, &size);
    options->program_fd = (int)read_u32(reader);
    if (path) options->program = stack_push(stack, path, size);
}

static void read_provisioned(struct reader *reader) {
    read_region(reader, &state.manifest);
    read_region(reader, &state.files);
    read_string(reader, state.attester, sizeof state.attester);
    read_string(reader, state.root_program, sizeof state.root_program);
    const u8 *digest = read_bytes(reader, sizeof state.root_digest);
    if (digest) memcpy(state.root_digest, digest, sizeof state.root_digest);
    const u8 *broker = read_bytes(reader, sizeof state.broker);
    if (broker) memcpy(state.broker, broker, sizeof state.broker);
    read_region(reader, &state.shield);
    carry_read(reader);
}

void handoff_read(struct options *options, struct program_stack *stack) {
    struct region block = load(options->handoff_fd);
    SYS1(__NR_close, options->handoff_fd);
    struct reader reader = open_block(&block);
    stack_expect(stack, block.size / sizeof(u32)); /* each word has its size before it */
    read_program(&reader, stack, options);
    read_list(&reader, stack, &stack->arguments);
    read_list(&reader, stack, &stack->environment);
    read_provisioned(&reader);
    if (reader.bad || reader.at != reader.end) refuse("the block with this program's arguments is not in order", 0);
    if (!stack->arguments.count) stack_add(stack, &stack->arguments, "", 0); /* as the kernel does */
    memset(ptr_of(block.at), 0, block.size);
    SYS2(__NR_munmap, block.at, page_up(block.size));
}
