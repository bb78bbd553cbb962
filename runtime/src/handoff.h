/* How argv, environment and what was provisioned reach a program that this one executes.
 *
 * execve(2) keeps nothing but descriptors and what the kernel copies into ordinary memory, which the administrator reads. So the
 * block goes through a memfd as ciphertext (ChaCha20-Poly1305). Its key is the tree's: every process of the tree has it in secret
 * memory, and guard 1 gives it to new images of the runtime (guard_key.c) once they stand in secret memory themselves. It is put
 * into their registers, which nobody else can read: nobody else can trace them, and they forbid core files before they ask. */
#ifndef CLOISTER_HANDOFF_H
#define CLOISTER_HANDOFF_H

#include "aead.h"
#include "start.h"

/* Before the guards start: makes the tree's key, which guard 1 gets with its copy of the state. */
void handoff_make_key(void);
/* In a new image: gets the tree's key from the guard. Its command line came through ordinary memory, where an administrator may have
 * changed it: an image without a block forgets the key, and ends the process if its tree executes nothing without one. So it does if
 * the guard does not give it. Afterwards core files must be forbidden or allowed anew (process_forbid_core_dumps). */
void handoff_take_key(bool has_block);
/* The same for an image that says it has no guard, which may not be true. */
void handoff_do_without_key(void);
struct image;
/* A descriptor (not close-on-exec) of the sealed block; or -E2BIG, -EFAULT as execve(2) has it, or another -errno. Writes no state,
 * uses less than 2 KiB of stack: runs in vfork children. */
NODISCARD long handoff_write(const struct image *image);
/* In a new image that has the key: reads the block into the program's stack, into state and into `options` (which program). Ends
 * the process if the block is not what this tree sealed. Closes fd. */
void handoff_read(struct options *options, struct program_stack *stack);

/* The block: this header (which is the additional data), ciphertext, tag. The plain text: u32 length and path of the program, u32
 * its descriptor or HANDOFF_LAST (root can change the command line while it stands in ordinary memory); argv and environment, each a
 * list of u32 length and bytes that ends with HANDOFF_LAST; then u32 length and bytes of the manifest, the injected files, the
 * attester's address and the tree's program; then that program's digest. */
struct handoff_header {
    u32 magic, version;
    u8 nonce[AEAD_NONCE];
};
enum { HANDOFF_MAGIC = 0x66646e68 /* "hndf" */, HANDOFF_MOST = 64 << 20 /* bytes of a block */ };
#define HANDOFF_LAST 0xffffffffU

#endif
