"""Arguments that are plain values: numbers, flags, descriptors, signals. No memory is read."""

import signal

from cloister.observe.trace.decode.look import NOTHING, Decoded, Decoder, Look, signed
from cloister.observe.trace.flags import text_of
from cloister.observe.trace.signatures import Param

__all__ = ["SCALARS", "descriptor", "signal_name"]

AT_FDCWD = -100
CREATING = 0o100 | 0o20000000  # O_CREAT, and the bit of O_TMPFILE that is its own
SOL_SOCKET = 1
COMMANDS_WITH_FD_FLAGS, COMMANDS_WITH_STATUS_FLAGS, COMMANDS_WITHOUT = {2}, {4}, {1, 3, 9, 11, 1025, 1032, 1034}
REAL_TIME = 32


def integer(_look: Look, _param: Param, raw: int) -> Decoded:
    """A C `int`."""
    return str(signed(raw, 32)), NOTHING


def unsigned(_look: Look, _param: Param, raw: int) -> Decoded:
    """A C `unsigned int`."""
    return str(raw & 0xFFFFFFFF), NOTHING


def size(_look: Look, _param: Param, raw: int) -> Decoded:
    """A C `size_t`, in bytes."""
    return str(raw), NOTHING


def offset(_look: Look, _param: Param, raw: int) -> Decoded:
    """A C `off_t`, in bytes."""
    return str(signed(raw, 64)), NOTHING


def hexadecimal(_look: Look, _param: Param, raw: int) -> Decoded:
    """A value best read as bits."""
    return hex(raw) if raw else "0", NOTHING


def address(_look: Look, _param: Param, raw: int) -> Decoded:
    """A pointer that is not followed."""
    return hex(raw) if raw else "NULL", NOTHING


def mode(_look: Look, _param: Param, raw: int) -> Decoded:
    """A file mode."""
    return f"0{raw & 0xFFFFFFFF:03o}", NOTHING


def creation_mode(look: Look, param: Param, raw: int) -> Decoded:
    """A file mode that the kernel only looks at when the flags create a file; empty otherwise."""
    return mode(look, param, raw) if look.value(param.detail) & CREATING else ("", NOTHING)


def flags(_look: Look, param: Param, raw: int) -> Decoded:
    """Flags or an enumeration by name."""
    # Registers carry garbage or sign bits above a 32-bit argument; only these two tables have 64-bit values.
    value = raw if param.detail == "clone" else raw & 0xFFFFFFFF
    return text_of(param.detail, signed(value, 32) & (1 << 64) - 1 if param.detail == "rusage" else value), NOTHING


def descriptor(look: Look, _param: Param, raw: int) -> Decoded:
    """A file descriptor with what it refers to."""
    number = signed(raw, 32)
    name = look.eyes.descriptors.name(look.pid, number) if number >= 0 else ""
    return f"{number}<{name}>" if name else str(number), NOTHING


def directory(look: Look, param: Param, raw: int) -> Decoded:
    """The directory descriptor of an `...at` call."""
    return ("AT_FDCWD", NOTHING) if signed(raw, 32) == AT_FDCWD else descriptor(look, param, raw)


def signal_argument(_look: Look, _param: Param, raw: int) -> Decoded:
    """A signal by name."""
    return signal_name(signed(raw, 32)), NOTHING


def fcntl_argument(look: Look, param: Param, raw: int) -> Decoded:
    """The third argument of fcntl(2), which depends on the command; empty for commands without one."""
    command = signed(look.value(param.detail), 32)
    if command in COMMANDS_WITHOUT:
        return "", NOTHING
    if command in COMMANDS_WITH_FD_FLAGS:
        return "FD_CLOEXEC" if raw == 1 else hex(raw), NOTHING
    if command in COMMANDS_WITH_STATUS_FLAGS:
        return text_of("open", raw), NOTHING
    return str(raw) if raw < 1 << 16 else hex(raw), NOTHING


def socket_option(look: Look, param: Param, raw: int) -> Decoded:
    """An option of setsockopt(2): named at the socket level, a number at the others."""
    number = signed(raw, 32)
    return text_of("sockopt", raw) if look.value(param.detail) == SOL_SOCKET else str(number), NOTHING


def signal_name(number: int) -> str:
    """`SIGINT`, `SIGRT_3`, or the number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRT_{number - REAL_TIME}" if REAL_TIME <= number <= 64 else str(number)


SCALARS: dict[str, Decoder] = {
    "int": integer,
    "uint": unsigned,
    "size": size,
    "offset": offset,
    "hex": hexadecimal,
    "ptr": address,
    "mode": mode,
    "creatmode": creation_mode,
    "flags": flags,
    "fd": descriptor,
    "fdnum": integer,
    "dirfd": directory,
    "signal": signal_argument,
    "fcntlarg": fcntl_argument,
    "sockopt": socket_option,
}
