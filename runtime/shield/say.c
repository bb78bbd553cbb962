#include "say.h"

#include "console.h"
#include "pipe.h"
#include "table.h"

enum { STANDARD_ERROR = 2 };

/* In a shielded file it would be among the program's data. */
void shield_say(const char *text) {
    struct shielded entry;
    u64 size = strlen(text);
    if (!table_get(STANDARD_ERROR, &entry)) SYS3(__NR_write, STANDARD_ERROR, text, size);
    else if (entry.kind == SHIELD_CONSOLE) console_tell(OUTPUT_STDERR, text, min_u64(size, RECORD_TEXT));
    else if (entry.kind == SHIELD_PIPE) {
        struct channel channel = pipe_channel(STANDARD_ERROR, &entry, true);
        pipe_tell(&channel, text, size);
    }
}
