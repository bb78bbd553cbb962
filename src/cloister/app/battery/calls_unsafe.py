"""The calls that Python has not got: ptrace(2), process_vm_readv(2) and its twin, pidfd_getfd(2), perf_event_open(2).

Each raises OSError, or returns what it got.
"""

import contextlib
import ctypes
import os
import struct
import time

__all__ = [
    "attach", "checked", "continued", "detach", "event_message", "get_registers", "interrupt", "page_out", "peek",
    "perf_event", "perf_uprobe", "poke", "poke_user", "seize", "set_registers", "step", "take_descriptor",
    "vm_read", "vm_write", "wait_stopped",
]  # fmt: skip

SEIZE, INTERRUPT, EVENT_MESSAGE = 0x4206, 0x4207, 0x4201
ATTACH, DETACH, CONTINUE, STEP = 16, 17, 7, 9
PEEKDATA, POKEDATA, POKEUSER, GETREGS, SETREGS = 2, 5, 6, 12, 13
REGISTERS = 27
"""Words of `struct user_regs_struct`, x86-64."""
WAIT_ALL = 0x40000000  # __WALL
SYS_PIDFD_GETFD, SYS_PERF_EVENT_OPEN, SYS_PROCESS_MADVISE = 438, 298, 440
MADV_PAGEOUT = 21
STOP_SECONDS = 3.0

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
libc.ptrace.restype = libc.syscall.restype = ctypes.c_long
libc.process_vm_readv.restype = libc.process_vm_writev.restype = ctypes.c_ssize_t


class Span(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


def checked(result: int, what: str) -> int:
    """OSError where the kernel refused."""
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result


def ptrace(request: int, tid: int, address: int = 0, data: int = 0) -> int:
    """One request."""
    return checked(libc.ptrace(request, tid, address, data), f"ptrace {request:#x}")


def attach(tid: int) -> None:
    """PTRACE_ATTACH, and wait for the stop."""
    ptrace(ATTACH, tid)
    wait_stopped(tid)


def seize(tid: int, options: int = 0) -> None:
    """PTRACE_SEIZE; the thread runs on."""
    ptrace(SEIZE, tid, 0, options)


def interrupt(tid: int) -> None:
    """PTRACE_INTERRUPT of what was seized."""
    ptrace(INTERRUPT, tid)


def event_message(tid: int) -> int:
    """PTRACE_GETEVENTMSG: of a clone, the new thread."""
    room = ctypes.c_ulong()
    ptrace(EVENT_MESSAGE, tid, 0, ctypes.addressof(room))
    return room.value


def detach(tid: int, *, running: bool = False) -> None:
    """Let it go, stopped or (after `seize`) running; never an error, for it is the end of an attack."""
    with contextlib.suppress(OSError):
        if running:
            ptrace(INTERRUPT, tid)
            wait_stopped(tid)
        ptrace(DETACH, tid)


def continued(tid: int, number: int) -> None:
    """PTRACE_CONT with a signal, or 0."""
    ptrace(CONTINUE, tid, 0, number)


def wait_stopped(tid: int) -> int:
    """The wait status of the next stop. OSError when it ends, or nothing happens."""
    limit = time.monotonic() + STOP_SECONDS
    while time.monotonic() < limit:
        found, status = os.waitpid(tid, WAIT_ALL | os.WNOHANG)
        if found and os.WIFSTOPPED(status):
            return status
        if found:
            raise ProcessLookupError(0, "it ended")
        time.sleep(0.001)
    raise TimeoutError(0, "it did not stop")


def peek(tid: int, address: int) -> bytes:
    """PEEKDATA: eight bytes. The library's answer is ambiguous for -1, so errno decides."""
    ctypes.set_errno(0)
    word = libc.ptrace(PEEKDATA, tid, address, 0)
    if word == -1 and ctypes.get_errno():
        checked(-1, "PEEKDATA")
    return struct.pack("<q", word)


def poke(tid: int, address: int, data: bytes) -> None:
    """POKEDATA: eight bytes."""
    ptrace(POKEDATA, tid, address, int.from_bytes(data, "little"))


def poke_user(tid: int, offset: int, word: int) -> None:
    """POKEUSER: a word of `struct user`, which has the debug registers."""
    ptrace(POKEUSER, tid, offset, word)


def get_registers(tid: int) -> list[int]:
    """PTRACE_GETREGS, in the order of `struct user_regs_struct`."""
    room = (ctypes.c_uint64 * REGISTERS)()
    ptrace(GETREGS, tid, 0, ctypes.addressof(room))
    return list(room)


def set_registers(tid: int, registers: list[int]) -> None:
    """PTRACE_SETREGS."""
    room = (ctypes.c_uint64 * REGISTERS)(*registers)
    ptrace(SETREGS, tid, 0, ctypes.addressof(room))


def step(tid: int) -> int:
    """One instruction; the wait status."""
    ptrace(STEP, tid)
    return wait_stopped(tid)


def vm_read(pid: int, address: int, size: int) -> bytes:
    """process_vm_readv(2)."""
    room = ctypes.create_string_buffer(size)
    own, theirs = Span(ctypes.addressof(room), size), Span(address, size)
    got = checked(libc.process_vm_readv(pid, ctypes.byref(own), 1, ctypes.byref(theirs), 1, 0), "process_vm_readv")
    return room.raw[:got]


def vm_write(pid: int, address: int, data: bytes) -> int:
    """process_vm_writev(2); bytes written."""
    room = ctypes.create_string_buffer(data, len(data))
    own, theirs = Span(ctypes.addressof(room), len(data)), Span(address, len(data))
    return checked(libc.process_vm_writev(pid, ctypes.byref(own), 1, ctypes.byref(theirs), 1, 0), "process_vm_writev")


def take_descriptor(pidfd: int, number: int) -> int:
    """pidfd_getfd(2): a copy of another process's descriptor."""
    return checked(libc.syscall(SYS_PIDFD_GETFD, pidfd, number, 0), "pidfd_getfd")


def page_out(pidfd: int, spans: list[tuple[int, int]]) -> None:
    """process_madvise(2) with MADV_PAGEOUT: give these (address, size) back, to swap if need be."""
    for address, size in spans:
        span = Span(address, size)
        words = (ctypes.c_long(pidfd), ctypes.byref(span), ctypes.c_long(1), ctypes.c_long(MADV_PAGEOUT))
        with contextlib.suppress(OSError):
            checked(libc.syscall(ctypes.c_long(SYS_PROCESS_MADVISE), *words, ctypes.c_long(0)), "process_madvise")


def perf_event(pid: int, kind: int, config: int, more: tuple[int, int, int, int, int]) -> int:
    """perf_event_open(2) of one process on every processor. `more`: period, flags, bp_type, config1, config2."""
    period, flags, breakpoint_type, first, second = more
    attributes = struct.pack(
        "<IIQQQQQIIQQ56x", kind, 128, config, period, 0, 0, flags, 0, breakpoint_type, first, second
    )  # fmt: skip
    words = (ctypes.c_char_p(attributes), ctypes.c_long(pid), ctypes.c_long(-1), ctypes.c_long(-1), ctypes.c_long(8))
    return checked(libc.syscall(ctypes.c_long(SYS_PERF_EVENT_OPEN), *words), "perf_event_open")


def perf_uprobe(kind: int, path: bytes, offset: int, pid: int) -> int:
    """A counter of how often `pid` executes this place of a file (the uprobe PMU)."""
    room = ctypes.create_string_buffer(path)
    return perf_event(pid, kind, 0, (0, 0, 0, ctypes.addressof(room), offset))
