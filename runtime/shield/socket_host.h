/* IP addresses in text. */
#ifndef CLOISTER_SHIELD_SOCKET_HOST_H
#define CLOISTER_SHIELD_SOCKET_HOST_H

#include "rt.h"

/* IPv4 (as IPv6 has it) or IPv6, without scope. False if it is neither. */
NODISCARD bool host_read(const u8 *text, u32 size, u8 host[16]);

#endif
