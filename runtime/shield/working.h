/* The working directory and the umask, which the kernel cannot know where files are shielded. Text, not an inode: as in all of this. */
#ifndef CLOISTER_SHIELD_WORKING_H
#define CLOISTER_SHIELD_WORKING_H

#include "call.h"

void working_begin(void);
/* The absolute path; whether it stands in a shielded region. Then the kernel's own is the last that was not. */
const char *working_path(void);
NODISCARD bool working_is_shielded(void);
/* In a new image. */
void working_take(const char *path, bool shielded, u32 mask);
u32 working_mask(void);
/* chdir(2), fchdir(2), getcwd(2), umask(2), or SHIELD_PASS. With the lock held. */
NODISCARD long working_call(const struct call *call);

#endif
