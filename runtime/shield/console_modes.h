/* The modes of the terminal, as programs believe them to be (termios(3)). They take effect at the person's terminal, to which each
 * change is sent, in its place among the output; the kernel's own terminal stays raw. The flags stand in a word of the guard, for
 * all processes of the tree; control characters and speeds, which mean nothing to a raw terminal, are kept by the kernel's. */
#ifndef CLOISTER_SHIELD_CONSOLE_MODES_H
#define CLOISTER_SHIELD_CONSOLE_MODES_H

#include "rt.h"

struct modes {
    u32 input, output, local;
    u8 least, tenths; /* VMIN, VTIME */
};

/* With the lock held. 0 or -errno. */
NODISCARD long modes_get(struct modes *modes);
NODISCARD long modes_set(const struct modes *modes);
bool modes_are_canonical(const struct modes *modes);

#endif
