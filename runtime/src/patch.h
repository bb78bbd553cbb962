/* Load-time patching: `mov $number, %eax; syscall`, and forms like it, becomes a jump to a stub that calls the runtime.
 *
 * A SIGSYS under the guard costs 30-50 us, since every signal is a stop of the tracer; a patched site costs some ns. What is
 * not patched still works through SIGSYS. */
#ifndef CLOISTER_PATCH_H
#define CLOISTER_PATCH_H

#include "rt.h"

struct patch_target {
    u64 text, length;   /* where the writable copy of the text stands now */
    u64 stubs;          /* where the writable room for stubs stands now */
    u64 text_from_base; /* where both will be mapped, relative to the image's base */
    u64 stubs_from_base;
    u64 used;           /* stubs used so far; the caller starts with 0 and passes the same target for each segment */
};

/* How many bytes of stubs stand behind an image: the same for all images of a tree. */
u64 patch_room(void);
void patch_sites(struct patch_target *target);
/* For checking what was patched: whether the text differs from `source` at *offset because a site of the source stands there, which
 * leads to a stub of its own. Then *offset is behind the site, and the stub is counted in `used`. Nothing is written. */
NODISCARD bool patch_is_right(struct patch_target *target, const u8 *source, u64 *offset);
/* Whether the room for stubs holds nothing beside the first `used` ones and the entry's address. */
NODISCARD bool patch_stubs_are_right(const u8 *stubs, u64 used);

#endif
