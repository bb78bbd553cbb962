/* What is said to a person when a volume cannot be used. */
#ifndef CLOISTER_SHIELD_MOUNT_TROUBLE_H
#define CLOISTER_SHIELD_MOUNT_TROUBLE_H

#include "policy.h"

struct trouble {
    const char *what, *fix;
};

/* Of an error of mount_open. */
struct trouble mount_trouble(long error);
/* On standard error, when it is first used: there the program is told no more than an errno. */
void mount_say(const struct shield_files *entry, long error, bool is_older);

#endif
