/* Paths of open files, as they were when they were opened: texts of any length, each kept once however many descriptors have it. With the
 * lock held. */
#ifndef CLOISTER_SHIELD_KEPT_PATH_H
#define CLOISTER_SHIELD_KEPT_PATH_H

#include "rt.h"

/* A number above 0 for the text, which lasts until the next call of this if nobody uses it by then. -EMFILE if there is no room. */
NODISCARD long kept_path_put(const char *path);
const char *kept_path_text(u32 number); /* "" for 0; where it is until the next kept_path_put */
/* One user more, or less; those also without the lock. 0 is none. */
void kept_path_use(u32 number);
void kept_path_give(u32 number);

#endif
