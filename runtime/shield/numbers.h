/* close(2), dup(2) and their kin, fcntl(2): which number means which shielded descriptor. */
#ifndef CLOISTER_SHIELD_NUMBERS_H
#define CLOISTER_SHIELD_NUMBERS_H

#include "shield.h"

NODISCARD long shield_number_call(struct call *call);
/* calls.c: fcntl(2) of what is shielded, when it is not about numbers. */
NODISCARD long shield_by_descriptor(struct call *call, u64 fd);

#endif
