/* Writing the block. In a vfork child this runs on a stack of some KiB, in memory that is the parent's: so the block goes through a
 * small buffer piece by piece, and nothing is allocated. Lists and strings are read here, not by the kernel: pointers are tried
 * before use, a page at a time, and the kernel's limits (execve(2)) are kept. */
#include "handoff.h"

#include <linux/fcntl.h>
#include <linux/memfd.h>
#include <linux/resource.h>

#include "../shield/carry.h"
#include "access.h"
#include "descriptors.h"
#include "exec_image.h"
#include "state.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

enum {
    BUFFER = 256,
    STRING_LIMIT = 128 << 10,  /* MAX_ARG_STRLEN: of one string, its end included */
    WORDS_LEAST = 128 << 10,   /* ARG_MAX: what all may take together however small the stack is, */
    WORDS_MOST = 6 << 20,      /* and however large it is */
};

struct writer {
    struct aead aead;
    long fd, error;
    u64 room;                  /* how much the kernel would still take */
    u64 written;
    u64 list_page, text_page;  /* known to be readable: 1 + the number of a page, or 0 */
    u32 used;
    u8 buffer[BUFFER];
};

static void write_all(struct writer *writer, const void *bytes, u64 size) {
    writer->written += size;
    if (writer->written > HANDOFF_MOST) writer->error = -ENOMEM;
    for (u64 done = 0; done < size && !writer->error;) {
        long n = SYS3(__NR_write, writer->fd, addr_of(bytes) + done, size - done);
        if (n > 0) done += (u64)n;
        else if (n != -EINTR) writer->error = -ENOMEM;
    }
}

static void flush(struct writer *writer) {
    aead_encrypt(&writer->aead, writer->buffer, writer->used);
    write_all(writer, writer->buffer, writer->used);
    writer->used = 0;
}

static void put(struct writer *writer, const void *bytes, u64 size) {
    for (const u8 *from = bytes; size && !writer->error;) {
        u64 piece = min_u64(size, BUFFER - writer->used);
        memcpy(writer->buffer + writer->used, from, piece);
        writer->used += (u32)piece;
        from += piece;
        size -= piece;
        if (writer->used == BUFFER) flush(writer);
    }
}

static void put_number(struct writer *writer, u32 value) { put(writer, &value, sizeof value); }

static void put_sized(struct writer *writer, const void *bytes, u64 size) {
    put_number(writer, (u32)size);
    put(writer, bytes, size);
}

/* What another thread unmaps meanwhile is not noticed. */
static bool is_readable(u64 *known_page, u64 address) {
    u64 page = address / PAGE + 1;
    if (page == *known_page) return true;
    if (!can_read(address, 1)) return false;
    *known_page = page;
    return true;
}

/* Its length, -EFAULT or -E2BIG. */
static long measure(struct writer *writer, u64 text) {
    for (u64 at = text; at - text < STRING_LIMIT;) {
        if (!is_readable(&writer->text_page, at)) return -EFAULT;
        for (u64 end = page_down(at) + PAGE; at < end; at++)
            if (!*(const char *)ptr_of(at)) return at - text < STRING_LIMIT ? (long)(at - text) : -E2BIG;
    }
    return -E2BIG;
}

static long put_word(struct writer *writer, const char *word) {
    long size = measure(writer, addr_of(word));
    if (failed(size)) return size;
    u64 taken = (u64)size + 1 + sizeof word;
    if (taken > writer->room) return -E2BIG;
    writer->room -= taken;
    put_sized(writer, word, (u64)size);
    return writer->error;
}

/* No list is an empty one. */
static void put_list(struct writer *writer, char *const *list) {
    for (u64 at = addr_of(list); list && !writer->error; at += sizeof *list) {
        if (!is_readable(&writer->list_page, at) || !is_readable(&writer->list_page, at + sizeof *list - 1)) writer->error = -EFAULT;
        const char *word = writer->error ? NULL : *(char *const *)ptr_of(at);
        if (!word) break;
        writer->error = put_word(writer, word);
    }
    put_number(writer, HANDOFF_LAST);
}

/* Another thread may renew them meanwhile (files.c), with the lock held; without an attester nobody does. */
static void put_files(struct writer *writer) {
    struct lock_guard lock;
    if (state.attester[0]) lock_take(&lock, false);
    put_sized(writer, ptr_of(state.files.at), state.files.size);
    if (state.attester[0]) lock_give(&lock);
}

static void put_provisioned(struct writer *writer) {
    put_sized(writer, ptr_of(state.manifest.at), state.manifest.size);
    put_files(writer);
    put_sized(writer, state.attester, strlen(state.attester));
    put_sized(writer, state.root_program, strlen(state.root_program));
    put(writer, state.root_digest, sizeof state.root_digest);
    put(writer, state.broker, sizeof state.broker);
    put_sized(writer, ptr_of(state.shield.at), state.shield.size);
    carry_write(writer, put);
}

static u64 room_for_words(void) {
    u64 limit[2] = {0, 0};
    SYS2(__NR_getrlimit, RLIMIT_STACK, limit);
    return max_u64(min_u64(limit[0] / 4, WORDS_MOST), WORDS_LEAST);
}

static long create(void) {
    u64 name = addr_of("cloister-handoff");
    long fd = open_beyond_limit(__NR_memfd_create, name, MFD_CLOEXEC | MFD_NOEXEC_SEAL);
    return fd == -EINVAL ? open_beyond_limit(__NR_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING) : fd;
}

static void write_header(struct writer *writer) {
    struct handoff_header header = {.magic = HANDOFF_MAGIC, .version = CLOISTER_ABI_VERSION};
    if (SYS3(__NR_getrandom, header.nonce, sizeof header.nonce, 0) != sizeof header.nonce) writer->error = -EAGAIN;
    aead_start(&writer->aead, state.handoff_key, header.nonce, &header, sizeof header);
    write_all(writer, &header, sizeof header);
}

static void write_tag(struct writer *writer) {
    u8 tag[AEAD_TAG];
    flush(writer);
    aead_finish(&writer->aead, tag);
    write_all(writer, tag, sizeof tag);
}

/* The seal keeps the block from changing while it waits; what is read is authenticated all the same. */
static long make_inheritable(long fd) {
    long error = SYS3(__NR_fcntl, fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    return failed(error) ? error : SYS3(__NR_fcntl, fd, F_SETFD, 0);
}

static void put_program(struct writer *writer, const struct image *image) {
    u64 size = strlen(image->path);
    writer->room -= size + 1; /* the kernel counts it, and the path that it accepts is shorter than the least room */
    put_sized(writer, image->path, size);
    put_number(writer, (u32)image->program_fd);
}

long handoff_write(const struct image *image) {
    struct writer writer;
    long fd = create();
    if (failed(fd)) return fd;
    writer.fd = fd, writer.error = 0, writer.used = 0, writer.written = 0;
    writer.list_page = writer.text_page = 0;
    writer.room = room_for_words();
    write_header(&writer);
    put_program(&writer, image);
    put_list(&writer, image->arguments);
    put_list(&writer, image->environment);
    put_provisioned(&writer);
    write_tag(&writer);
    long error = writer.error ? writer.error : make_inheritable(fd);
    if (!failed(error)) return fd;
    SYS1(__NR_close, fd);
    return error;
}
