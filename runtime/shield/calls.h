/* Which system calls the shields see, and what each is about. */
#ifndef CLOISTER_SHIELD_CALLS_H
#define CLOISTER_SHIELD_CALLS_H

#include "rt.h"

enum call_class {
    CALL_NONE,
    CALL_DESCRIPTOR, /* of the first argument's descriptor */
    CALL_SECOND,     /* of two: the second argument's too (sendfile) */
    CALL_THIRD,      /* of two: the third argument's too (splice, copy_file_range) */
    CALL_NUMBER,     /* changes which number means what: close, dup */
    CALL_OPEN,
    CALL_PIPE,       /* makes one */
    CALL_STATUS,
    CALL_CHANGE,
    CALL_WORKING,
    CALL_SOCKET,     /* about a socket that may not be shielded yet */
    CALL_SYNC,
    CALL_OUTSIDE,    /* would lead past the shields */
    CALL_WATCH,
};

struct shield_rule {
    u16 number;
    u8 class;
    u8 only; /* nobody else in the runtime wants it: what the shields pass is the kernel's */
};

/* In filter_rules.h's sense all of them are ALWAYS. */
extern const struct shield_rule shield_rules[];
extern const u16 shield_rule_count;
NODISCARD const struct shield_rule *shield_rule(u64 number); /* NULL if the shields do not see it */

#endif
