/* How argv, environment and what was provisioned reach a program that this one executes.
 *
 * execve(2) keeps nothing but descriptors and what the kernel copies into ordinary memory, which the administrator reads. So the
 * block goes through a memfd as ciphertext (ChaCha20-Poly1305), and its key, which the guard knows from the start, is put by the guard into xmm0
 * and xmm1 of the new image: nobody else can trace it, and the runtime takes it from there straight into secret memory. */
#ifndef CLOISTER_HANDOFF_H
#define CLOISTER_HANDOFF_H

#include "start.h"

/* Before the guards start: makes the tree's key, which guard 1 gets with its copy of the state. */
void handoff_make_key(void);
/* A descriptor (not close-on-exec) of the sealed block, or -errno. Writes no state, uses little stack: runs in vfork children. */
NODISCARD long handoff_write(char *const *arguments, char *const *environment);
/* In a new image, with the key in state.handoff_key: reads the block into the program's stack and into state. Ends the process if
 * the block is not what this tree sealed. Closes fd. */
void handoff_read(int fd, struct program_stack *stack);

#endif
