/* A start block (cloister_abi.h): arguments, environment, then, where the sender has them, a working directory and
 * injected files, and behind these what is shielded. */
#ifndef CLOISTER_BLOCK_H
#define CLOISTER_BLOCK_H

#include "region.h"
#include "start.h"

/* Arguments and environment go onto the program's stack, a working directory is entered, files become state.files. Ends the
 * process if the bytes are not exactly one block. */
void block_take(struct reader reader, struct program_stack *stack);
/* The same from a descriptor, which is read to its end and closed. */
void block_take_from(int fd, struct program_stack *stack);
/* Behind a block's words: its files become state.files, for those that were there before. False if they are damaged. */
NODISCARD bool block_renew_files(struct reader reader);
/* Access to the files has ended: their content is wiped, here and for what this program executes, and their names are kept. */
void block_end_files(void);

#endif
