/* The lease: one family of a tree may work on volumes as if it were alone, though others live. It has it for a volume at a time, and no
 * other family has one meanwhile, so nobody who has one waits for another's.
 *
 * Who asked often in a row, with nobody else between, gets it (the runtime asks for it with the container locked: mount_state.c). From
 * then on all others are refused until it is back: the guard recalls it by a SIGSYS to a process of the family, which then publishes
 * what it has changed and gives the lease back with the new root. What others are told is only what the guard knows: who sends such a
 * signal gets nothing but a needless return, and who keeps one back a refusal. */
#ifndef CLOISTER_GUARD_LEASE_H
#define CLOISTER_GUARD_LEASE_H

#include "rt.h"

/* Thread `tid` asks about a volume and says which lease it has for it, or 0. False: it is another family's, which is recalled. */
NODISCARD bool guard_lease_lets(u32 tid, u32 slot, u32 number);
/* After that: which lease its family has for the volume, 0 for none. `wanted`: it takes one if it may. */
NODISCARD u32 guard_lease_of(u32 tid, u32 slot, bool wanted);
void guard_lease_returned(u32 slot);
/* Whether the thread is of the family that has leases; whether another wants them. */
NODISCARD bool guard_lease_is_holders(u32 tid);
NODISCARD bool guard_lease_is_wanted(void);

#endif
