/* What guard 1 keeps for the tree (guard_words.h): the guard's side, and what the two sides share. */
#ifndef CLOISTER_GUARD_KEEP_H
#define CLOISTER_GUARD_KEEP_H

#include "guard_registers.h"

enum guard_request { ASK_ADD = 1, ASK_SWAP, ASK_ROOT, ASK_EXECUTING, ASK_LEAVING, ASK_ADD_IF, ASK_LEASE, ASK_RETURN, ASK_PIPE };
/* Parts of what is asked: the slot stands below them; and of the answer, above how many families there are. */
enum { REQUEST_AT = 32, LEASE_AT = 40, TOLD_LEASE_AT = 32 };
enum { GUARD_PROOF = 32 };

/* In the order of entry.S. An answer comes in the same fields. */
struct guard_question {
    u64 what;      /* lease, request, slot; answered: GUARD_ANSWERED */
    u64 number;    /* delta, expected word or generation, whether it executes; answered: what was there, lease and number of families */
    u64 generation; /* ASK_ADD_IF: delta */
    u64 digest[4];
    u64 place;
    u8 proof[GUARD_PROOF];
};
#define GUARD_ANSWERED 0x6465726577736e61UL

/* Asks it: the answer, or -ENOSYS where there is nobody to ask. */
NODISCARD long guard_ask(struct guard_question *question, u64 request, u32 slot);

/* HMAC of a fixed text with the tree's key. */
void guard_proof(u8 proof[GUARD_PROOF]);

/* Whether a volume is in use. */
NODISCARD bool guard_has_roots(void);

/* What a word is now. */
u64 guard_kept(u32 slot);

/* The result of the call that `tid` made with these registers, which it changes. */
long guard_keep_answer(long tid, struct registers *registers);

#endif
