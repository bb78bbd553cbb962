/* What a vfork(2) child changed of its parent's table: seen by that child only, until it has executed or ended. The kernel says when, by
 * the child's robust list (get_robust_list(2)); whoever comes by then makes room. */
#ifndef CLOISTER_SHIELD_TABLE_OVERLAY_H
#define CLOISTER_SHIELD_TABLE_OVERLAY_H

#include "table.h"

/* NULL if this process has changed nothing there. */
const struct shielded *overlay_entry(u64 fd);
/* With the lock held, of a vfork child. Of kind SHIELD_NONE: it has closed the number, for which there is always room once it has an
 * overlay. */
NODISCARD long overlay_put(u64 fd, const struct shielded *entry);
/* In a forked child, whose children they are not. */
void overlay_adopt(void);

#endif
