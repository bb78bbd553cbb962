/* The seccomp filter: which system calls the runtime answers. seccomp(2); inherited by fork and exec, for good. */
#ifndef CLOISTER_FILTER_H
#define CLOISTER_FILTER_H

#include "rt.h"

/* True if this process already stands under a filter of this ABI version (it was executed from an enclave). */
NODISCARD bool filter_is_installed(void);
struct filter_wishes {
    bool observed;       /* intercept exit_group, for checkpoints and reports */
    bool memory_limited; /* intercept setuid and its kind: identity.c */
    bool opens;          /* intercept open and its kind: opening.c */
};
/* Installs it; exits if it cannot. */
void filter_install(struct filter_wishes wishes);

#endif
