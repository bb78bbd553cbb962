/* The seccomp filter: which system calls the runtime answers. seccomp(2); inherited by fork and exec, for good. */
#ifndef CLOISTER_FILTER_H
#define CLOISTER_FILTER_H

#include "rt.h"

/* True if this process already stands under a filter of this ABI version (it was executed from an enclave). */
NODISCARD bool filter_is_installed(void);
/* Installs it; exits if it cannot. `observed`: exit_group is intercepted too, for checkpoints and reports. */
void filter_install(bool observed);

#endif
