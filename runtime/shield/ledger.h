/* What a shielded file's descriptor is to the kernel: the ledger, one empty memfd of the whole tree that nobody can write to. Each open
 * gives a file description of its own, which keeps offset, flags and, by ranges of the ledger that nothing else uses, locks. */
#ifndef CLOISTER_SHIELD_LEDGER_H
#define CLOISTER_SHIELD_LEDGER_H

#include "rt.h"

void ledger_begin(int inherited); /* its number in a new image, -1 for a tree's first. Ends the process if there can be none */
int ledger_number(void); /* -1: there is none yet */
/* A descriptor at the lowest free number, with those of `flags` that a description keeps; or -errno. */
NODISCARD long ledger_open(u64 flags);
/* Whether `fd` leads to the ledger: whoever got it another way than by table.c must not take it for an empty file. */
NODISCARD bool ledger_is(int fd);

#endif
