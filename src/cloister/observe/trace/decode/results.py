"""What a call returned, in words."""

import errno
import os

from cloister.observe.trace.decode.look import Look

__all__ = ["result_text"]

# include/linux/errno.h: never seen by the program, only by a tracer; the call is made again or ends in EINTR.
RESTARTS = {
    512: "ERESTARTSYS (To be restarted if SA_RESTART is set)",
    513: "ERESTARTNOINTR (To be restarted)",
    514: "ERESTARTNOHAND (To be restarted if no handler)",
    516: "ERESTART_RESTARTBLOCK (Interrupted by signal)",
}
ERRORS_MAX = 4095


def result_text(look: Look) -> str:
    """The value returned as strace writes it: an error by name, a descriptor with what it refers to."""
    value = look.result
    if -ERRORS_MAX <= value < 0:
        return error_text(-value)
    if look.signature.returns == "fd":
        name = look.eyes.descriptors.name(look.pid, value)
        return f"{value}<{name}>" if name else str(value)
    return hex(value & (1 << 64) - 1) if look.signature.returns == "hex" else str(value)


def error_text(code: int) -> str:
    """`-1 ENOENT (No such file or directory)`."""
    if code in RESTARTS:
        return f"? {RESTARTS[code]}"
    name = errno.errorcode.get(code)
    return f"-1 {name} ({os.strerror(code)})" if name else f"-1 (errno {code})"
