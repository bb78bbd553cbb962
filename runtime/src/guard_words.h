/* Numbers that guard 1 keeps for the tree, whatever becomes of its processes: counters, and the newest root of each volume. Asked for by
 * a system call that the filter makes a stop of the guard, in registers, with a proof that the caller has the tree's key. Without a guard
 * or without the key: -ENOSYS. A call costs a stop of the tracer, 30 to 50 us. */
#ifndef CLOISTER_GUARD_WORDS_H
#define CLOISTER_GUARD_WORDS_H

#include "rt.h"

enum { GUARD_WORDS = 16, GUARD_ROOTS = 32, GUARD_LEASES = (1 << 24) - 1 /* their numbers, from 1 */ };

/* Fetch and add: 0 and what it was before, or -errno. */
NODISCARD long guard_add(u32 slot, u64 delta, u64 *before);

/* The same if the word is `expected`: else -EAGAIN, and *before is what it is. */
NODISCARD long guard_add_if(u32 slot, u64 expected, u64 delta, u64 *before);

/* A committed state of a volume. Generation 0: none yet. */
struct guard_root {
    u64 generation;
    u8 digest[32];
    u64 place; /* the block where its superblock stands */
};
/* Compare and swap by generation: 0, or -EAGAIN if another is there. Either way `current` is what is there now. -EBUSY: another family
 * has the lease of this volume (guard_lease.h) and is called to return it. `lease`: which one the caller has, or 0. */
NODISCARD long guard_swap(u32 slot, u32 lease, u64 expected, const struct guard_root *fresh, struct guard_root *current, u64 *families);
NODISCARD long guard_root(u32 slot, u32 lease, struct guard_root *current, u64 *families);
/* The same, and takes the lease if it may: then *lease is its number, else 0. */
NODISCARD long guard_lease(u32 slot, u32 *lease, struct guard_root *current, u64 *families);
/* As guard_swap, but for a `fresh` of generation 0, which changes nothing; and whatever comes of that, the lease is over. */
NODISCARD long guard_return(u32 slot, u32 lease, u64 expected, const struct guard_root *fresh, struct guard_root *current, u64 *families);
/* Families: what came of one image by fork, as long as any thread of it lives. A thread that is about to execute says so: from then
 * on what it will be counts as one more, until it has executed or ended or says that it could not. */
NODISCARD long guard_executing(bool executing, u64 *families);
/* A thread says that its process is about to end: how many families there are without those of others who said so. */
NODISCARD long guard_leaving(u64 *families);

#endif
