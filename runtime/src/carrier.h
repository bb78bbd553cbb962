/* Frames to and from the carrier (cloister_abi.h), which is not trusted: whatever it sends is bounded, and read strictly. */
#ifndef CLOISTER_CARRIER_H
#define CLOISTER_CARRIER_H

#include "region.h"

struct talk {
    int fd;
    struct region answer; /* the bytes of the frame received last */
};

/* Connects to state.attester; 0 or -errno. Afterwards a call that waits so many seconds in vain is -EAGAIN; 0: it waits. */
NODISCARD long talk_open(struct talk *talk, u64 seconds);
NODISCARD long talk_send(const struct talk *talk, u32 kind, const void *bytes, u32 size);
/* 0 if the next frame is of that kind; -EACCES if it is REFUSED, whose bytes `answer` then holds; -EPROTO, -EIO. */
NODISCARD long talk_receive(struct talk *talk, u32 kind);
void talk_close(struct talk *talk);

#endif
