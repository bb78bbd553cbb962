/* The guard calls for what this process's family has of the tree (guard_lease.h). */
#ifndef CLOISTER_RECALL_H
#define CLOISTER_RECALL_H

#include "call.h"
#include "guard_signals.h"

/* In the handler of SIGSYS, whatever it interrupted. */
void recall_answer(const struct signal_info *info, struct trap_frame *frame);

#endif
