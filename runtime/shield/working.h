/* The working directory and the umask, which the kernel cannot know where files are shielded. */
#ifndef CLOISTER_SHIELD_WORKING_H
#define CLOISTER_SHIELD_WORKING_H

#include "shield.h"

void working_begin(void);
/* The absolute path; whether it stands in a shielded region. Then the kernel's own is the last that was not. */
const char *working_path(void);
NODISCARD bool working_is_shielded(void);
/* Where it is then, as the table says it of descriptors. */
const struct shielded *working_directory(void);
/* In a new image. `directory` is NULL if it is not shielded. */
void working_take(const char *path, const struct shielded *directory, u32 mask);
/* In a forked child and a new image: it is open in one process more. */
void working_count_copy(void);
u32 working_mask(void);
/* chdir(2), fchdir(2), getcwd(2), umask(2), or SHIELD_PASS. With the lock held. */
NODISCARD long working_call(const struct call *call);

#endif
