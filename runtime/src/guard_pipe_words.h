/* The way to guard_pipes.h from the tree's processes, as guard_words.h has it for words: the same calls, asked of guard 1. -ENOSYS where
 * there is no guard. */
#ifndef CLOISTER_GUARD_PIPE_WORDS_H
#define CLOISTER_GUARD_PIPE_WORDS_H

#include "guard_pipes.h"
#include "guard_registers.h"

NODISCARD long pipe_ask_new(u64 id);
NODISCARD long pipe_ask_send(u64 id, struct pipe_numbers *numbers);
long pipe_ask_sent(u64 id);
long pipe_ask_unsent(u64 id, const struct pipe_numbers *numbers, bool sure);
NODISCARD long pipe_ask_take(u64 id, struct pipe_claim *claim);
NODISCARD long pipe_ask_end(u64 id);
NODISCARD long pipe_ask_look(u64 id, u64 *count, u64 *from);

/* The guard's side. */
long guard_pipe_answer(u32 tid, u32 what, struct registers *registers);

#endif
