/* The end of a change. */
#ifndef CLOISTER_VOLUME_COMMIT_H
#define CLOISTER_VOLUME_COMMIT_H

#include "begin.h"

/* The state is as it was at that root. */
void commit_note(struct volume *volume, const struct volume_root *root);

#endif
