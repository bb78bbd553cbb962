/* The order in which dirty blocks are written: file by file, each from front to back, for whoever reads them reads them so. */
#ifndef CLOISTER_VOLUME_ORDER_H
#define CLOISTER_VOLUME_ORDER_H

#include "state.h"

void order_dirty(struct volume *volume, u32 list);

#endif
