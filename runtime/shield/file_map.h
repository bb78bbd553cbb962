/* Shared mappings of shielded files: the program's view of chunks of the pool (file_pool.h). With the lock held. */
#ifndef CLOISTER_SHIELD_FILE_MAP_H
#define CLOISTER_SHIELD_FILE_MAP_H

#include "shield.h"

/* In a forked child: it has its parent's mappings. */
void file_map_forked(void);

#endif
