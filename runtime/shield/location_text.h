/* What the walk along a path asks of text alone. */
#ifndef CLOISTER_SHIELD_LOCATION_TEXT_H
#define CLOISTER_SHIELD_LOCATION_TEXT_H

#include "location.h"

/* The program's path, of PATH_SIZE bytes at most: 0, -EFAULT, -ENAMETOOLONG, -ENOENT if it is empty. */
NODISCARD long location_copy_path(u64 from, char *to);
/* Whether it ends in a slash, "." or "..". */
NODISCARD bool location_names_directory(const char *path);
/* "." or "..", as many dots as are asked for. */
NODISCARD bool location_is_dots(struct name name, size_t count);

#endif
