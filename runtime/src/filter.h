/* The seccomp filter: which system calls the runtime answers. seccomp(2); inherited by fork and exec, for good. */
#ifndef CLOISTER_FILTER_H
#define CLOISTER_FILTER_H

#include "rt.h"

/* True if this process already stands under a filter of this ABI version (it was executed from an enclave). */
NODISCARD bool filter_is_installed(void);
struct filter_wishes {
    bool observed;       /* intercept exit_group, for checkpoints and reports */
    bool memory_limited; /* intercept setuid and its kind, and capset: identity.c */
    bool opens;          /* intercept open and its kind: opening.c */
    bool files;          /* intercept what injected files need: files.c */
    bool shield;         /* intercept what the shields answer: shield/rules.c */
};
/* Installs it; exits if it cannot. */
void filter_install(struct filter_wishes wishes);

/* The first of the descriptor numbers that injected files have and other files hardly ever; the same in the whole tree. 0 if it
 * has none. */
u32 filter_files_base(void);
/* The same before there is a filter. */
u32 filter_base_to_be(void);
/* From now on reads of all descriptors are intercepted, in this process and what it forks and executes. False if that fails. */
NODISCARD bool filter_widen(void);

#endif
