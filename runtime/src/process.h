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
/* For a clone that needs little of it: */
/* a mapping for data of its own, all zeros, and `more` bytes behind it; */
NODISCARD long process_map_state(u64 more);
/* where these begin; */
NODISCARD u64 process_behind_state(u64 at);
/* puts that mapping, as far as it is for data, in the place of what the process has. Its stack must not stand there; */
void process_take_state(u64 at);
/* goes on without any. */
void process_drop_state(void);
/* No core file, and no core_pattern pipe, will hold this process's registers. */
void process_forbid_core_dumps(void);
/* Removes the kernel's initial stack of a guard process. */
void process_drop_stack(u64 stack_pointer);

#endif
