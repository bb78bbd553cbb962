/* Secret memory behind the window's addresses: extents come and go here. */
#ifndef CLOISTER_BACKING_H
#define CLOISTER_BACKING_H

#include "extents.h"

NODISCARD long backing_reserve(u64 address, u64 length, int extra_flags); /* address space alone */
/* Backs what is not backed yet of [start, end), about to be used; what was idle is so no longer. */
NODISCARD long backing_provide(u64 start, u64 end);
/* The same for memory that comes and goes as one, such as a stack: as one extent, if it is not too large. */
void backing_provide_whole(u64 start, u64 end);
/* No area stands in `extent` any more, of `length` bytes that are released at once: gives it back (true) or keeps it as idle; then
 * its pages have to be wiped. */
NODISCARD bool backing_retire(const struct extent *extent, u64 length);
/* After that: gives back what is idle beyond the limit. */
void backing_trim(void);
/* Puts fresh pages in place of an extent's, if it is worth that and the program does not fill it each time anew. */
NODISCARD bool backing_refresh(const struct extent *extent, int protection);

#endif
