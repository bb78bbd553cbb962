/* What a program loads, for whoever writes its manifest: one record in a file for each path that was opened, executed or mapped
 * as code. A record is a letter, a path and NUL: 'r' opened to read, 'w' to write, 'x' executed; 'm' mapped executable, where the
 * path is the file's own (/proc/self/fd), not the name it was opened by. */
#ifndef CLOISTER_LEARN_H
#define CLOISTER_LEARN_H

#include "rt.h"

/* All are called with the lock held, or before there are threads; they do nothing if nobody learns. */
void learn_opened(const char *path, u64 flags, int fd);
void learn_executed(const char *path);
void learn_mapped(int fd);

#endif
