"""Arguments that point to small structures of fixed layout. Source: `include/uapi/` of Linux, x86-64."""

import stat as modes
import struct
from collections.abc import Callable

from cloister.observe.trace.decode.look import NOTHING, Decoded, Decoder, Look, pointer, signed
from cloister.observe.trace.decode.scalars import signal_name
from cloister.observe.trace.flags import text_of
from cloister.observe.trace.record import Seen, Unreadable
from cloister.observe.trace.signatures import Param

__all__ = ["STRUCTURES"]

Fields = tuple[int, ...]
UNLIMITED = (1 << 64) - 1
SIGNALS = 64
EVENTS_MAX = 64
EPOLL_EVENT = struct.Struct("<IQ")
FILE_TYPES = {
    modes.S_IFREG: "S_IFREG",
    modes.S_IFDIR: "S_IFDIR",
    modes.S_IFCHR: "S_IFCHR",
    modes.S_IFBLK: "S_IFBLK",
    modes.S_IFIFO: "S_IFIFO",
    modes.S_IFLNK: "S_IFLNK",
    modes.S_IFSOCK: "S_IFSOCK",
}


def structure(layout: str, write: Callable[[Look, Fields], str]) -> Decoder:
    """A decoder for a fixed `struct` layout; `write` turns its fields into text."""
    form = struct.Struct("<" + layout)

    def decode(look: Look, _param: Param, raw: int) -> Decoded:
        """Read the structure and write it down."""
        if raw == 0:
            return "NULL", NOTHING
        data = look.eyes.memory.read(look.pid, raw, form.size)
        if isinstance(data, Unreadable):
            return pointer(raw, data), data
        if len(data) < form.size:
            return hex(raw), Unreadable(reason="only partly mapped")
        return write(look, form.unpack(data)), Seen(size=form.size)

    return decode


def array(form: struct.Struct, count: Callable[[Look, Param], int], write: Callable[[Fields], str]) -> Decoder:
    """A decoder for an array of structures, shown up to a sane number."""

    def decode(look: Look, param: Param, raw: int) -> Decoded:
        """Read the array and write it down."""
        wanted = min(count(look, param), EVENTS_MAX)
        data = look.eyes.memory.read(look.pid, raw, wanted * form.size) if raw else b""
        if isinstance(data, Unreadable):
            return pointer(raw, data), data
        items = [write(fields) for fields in form.iter_unpack(data[: len(data) // form.size * form.size])]
        more = ["..."] if count(look, param) > wanted else []
        return ("[" + ", ".join(items + more) + "]" if raw else "NULL"), Seen(size=len(data))

    return decode


def timespec(_look: Look, fields: Fields) -> str:
    """`struct timespec`."""
    return f"{{tv_sec={fields[0]}, tv_nsec={fields[1]}}}"


def timeval(_look: Look, fields: Fields) -> str:
    """`struct timeval`."""
    return f"{{tv_sec={fields[0]}, tv_usec={fields[1]}}}"


def file_mode(value: int) -> str:
    """`S_IFREG|0644`."""
    kind = FILE_TYPES.get(modes.S_IFMT(value), f"{modes.S_IFMT(value):#o}")
    return f"{kind}|0{modes.S_IMODE(value):03o}"


def stat(_look: Look, fields: Fields) -> str:
    """`struct stat`: mode and size, the part that tells about the file."""
    mode, size = fields[3], fields[8]
    return f"{{st_mode={file_mode(mode)}, st_size={size}, ...}}"


def statx(_look: Look, fields: Fields) -> str:
    """`struct statx`: mode and size."""
    return f"{{stx_mode={file_mode(fields[6])}, stx_size={fields[9]}, ...}}"


def signal_set(mask: int) -> str:
    """A set of signals: by name, or as the complement when that is shorter."""
    members = [number for number in range(1, SIGNALS + 1) if mask >> (number - 1) & 1]
    if len(members) <= SIGNALS // 2:
        return "[" + " ".join(signal_name(number).removeprefix("SIG") for number in members) + "]"
    rest = [number for number in range(1, SIGNALS + 1) if number not in members]
    return "~[" + " ".join(signal_name(number).removeprefix("SIG") for number in rest) + "]"


def sigaction(_look: Look, fields: Fields) -> str:
    """`struct kernel_sigaction`."""
    handler, flags, _, mask = fields
    shown = {0: "SIG_DFL", 1: "SIG_IGN"}.get(handler, hex(handler))
    return f"{{sa_handler={shown}, sa_mask={signal_set(mask)}, sa_flags={flags:#x}}}"


def number(_look: Look, fields: Fields) -> str:
    """An `int` behind a pointer."""
    return f"[{fields[0]}]"


def pair(look: Look, fields: Fields) -> str:
    """The two descriptors of pipe(2) and socketpair(2)."""
    for fd in fields:
        look.eyes.descriptors.forget(look.pid, fd)
    names = [(fd, look.eyes.descriptors.name(look.pid, fd)) for fd in fields]
    return "[" + ", ".join(f"{fd}<{name}>" if name else str(fd) for fd, name in names) + "]"


def wait_status(_look: Look, fields: Fields) -> str:
    """What wait4(2) stored."""
    status = fields[0] & 0xFFFFFFFF
    low = status & 0x7F
    if low == 0:
        return f"[{{WIFEXITED(s) && WEXITSTATUS(s) == {status >> 8 & 0xFF}}}]"
    if low == 0x7F:
        return f"[{{WIFSTOPPED(s) && WSTOPSIG(s) == {signal_name(status >> 8 & 0xFF)}}}]"
    return f"[{{WIFSIGNALED(s) && WTERMSIG(s) == {signal_name(low)}}}]"


def rlimit(_look: Look, fields: Fields) -> str:
    """`struct rlimit64`."""
    soft, hard = ("RLIM64_INFINITY" if value == UNLIMITED else str(value) for value in fields)
    return f"{{rlim_cur={soft}, rlim_max={hard}}}"


def clone_args(_look: Look, fields: Fields) -> str:
    """The oldest part of `struct clone_args`, which every version has."""
    flags, _, _, _, exit_signal, stack, stack_size, tls = fields
    return (
        f"{{flags={text_of('clone', flags & ~0xFF)}, exit_signal={signal_name(signed(exit_signal, 32))},"
        f" stack={stack:#x}, stack_size={stack_size:#x}, tls={tls:#x}}}"
    )


def utsname(look: Look, _param: Param, raw: int) -> Decoded:
    """`struct utsname`: system and host name."""
    data = look.eyes.memory.read(look.pid, raw, 130)
    if isinstance(data, Unreadable):
        return pointer(raw, data), data
    system, host = (data[start : start + 65].split(b"\0")[0].decode("ascii", "replace") for start in (0, 65))
    return f'{{sysname="{system}", nodename="{host}", ...}}', Seen(size=len(data))


def poll_entry(fields: Fields) -> str:
    """`struct pollfd`."""
    fd, events, returned = fields
    got = f", revents={text_of('poll', returned)}" if returned else ""
    return f"{{fd={fd}, events={text_of('poll', events)}{got}}}"


def epoll_entry(fields: Fields) -> str:
    """`struct epoll_event`."""
    return f"{{events={text_of('epoll', fields[0])}, data={fields[1]:#x}}}"


def epoll_event(_look: Look, fields: Fields) -> str:
    """One `struct epoll_event` behind a pointer."""
    return epoll_entry(fields)


SIGSET = structure("Q", lambda _look, fields: signal_set(fields[0]))
STAT = structure("QQQIIIIQqqq", stat)
POLL = array(struct.Struct("<iHH"), lambda look, param: look.length(param.detail), poll_entry)

# True: to be read when the call has returned.
STRUCTURES: dict[str, tuple[bool, Decoder]] = {
    "timespec": (False, structure("qq", timespec)),
    "timespec_out": (True, structure("qq", timespec)),
    "timeval": (False, structure("qq", timeval)),
    "timeval_out": (True, structure("qq", timeval)),
    "stat": (True, STAT),
    "statx": (True, structure("IIQIIIHHQQ", statx)),
    "sigset": (False, SIGSET),
    "sigset_out": (True, SIGSET),
    "sigaction_in": (False, structure("QQQQ", sigaction)),
    "sigaction_out": (True, structure("QQQQ", sigaction)),
    "intp": (True, structure("i", number)),
    "intp_out": (True, structure("i", number)),
    "fdpair": (True, structure("ii", pair)),
    "wstatus": (True, structure("i", wait_status)),
    "rlimit_in": (False, structure("QQ", rlimit)),
    "rlimit_out": (True, structure("QQ", rlimit)),
    "clone_args": (False, structure("8Q", clone_args)),
    "utsname": (True, utsname),
    "pollfds": (True, POLL),
    "epoll_event": (False, structure("IQ", epoll_event)),
    "epoll_events": (True, array(EPOLL_EVENT, lambda look, _param: max(look.result, 0), epoll_entry)),
}
