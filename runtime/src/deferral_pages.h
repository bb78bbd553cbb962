/* The memory of a deferred child: what it may only read, for it is its parent's, and how pages of that become its own. */
#ifndef CLOISTER_DEFERRAL_PAGES_H
#define CLOISTER_DEFERRAL_PAGES_H

#include "deferral.h"

/* The program's secret memory that it may write to, and the runtime's state. */
NODISCARD bool pages_hold_back(void);
NODISCARD bool pages_held_back(u64 address);
/* Makes a page private if it is held back and is not private already. False if there is no memory. */
NODISCARD bool pages_open(struct deferral *deferral, u64 page);
/* The same for many, in order of their addresses: neighbours are moved at once. */
NODISCARD bool pages_open_all(struct deferral *deferral, const u64 *pages, u64 count);
/* Nobody else uses it any more: the program may write where it could. */
NODISCARD bool pages_give_back(void);

#endif
