/* This process's own pieces: the runtime's data and text, the vDSO, the kernel's initial stack. */
#ifndef CLOISTER_PROCESS_H
#define CLOISTER_PROCESS_H

#include <linux/elf.h>

#include "rt.h"

/* The runtime's own program headers. */
const Elf64_Phdr *process_segments(void);
u16 process_segment_count(void);
/* Puts the runtime's writable data into secret memory and its text, and the vDSO, behind sealed copies. Exits if it cannot. */
void process_harden(u64 vdso);
/* Gives this process (a fork or clone) its own copy of the runtime's data. Only the calling thread may exist in it. */
void process_own_runtime_state(void);
/* No core file, and no core_pattern pipe, will hold this process's registers. */
void process_forbid_core_dumps(void);
/* Removes the kernel's initial stack of a guard process. */
void process_drop_stack(u64 stack_pointer);

#endif
