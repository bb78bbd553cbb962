/* Buffers of the runtime's own for calls that move bytes from one descriptor to another. Without any lock. */
#ifndef CLOISTER_SHIELD_FILE_BUFFER_H
#define CLOISTER_SHIELD_FILE_BUFFER_H

#include "rt.h"

enum { FILE_BUFFER = 64 << 10 };

u8 *file_buffer_take(u32 *number); /* NULL if all are in use */
void file_buffer_give(u32 number);
/* Whether that is a part of them: the program's other calls may not name them. */
NODISCARD bool file_buffer_has(u64 address, u64 length);

#endif
