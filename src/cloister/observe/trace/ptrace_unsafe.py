"""The ptrace(2) requests a tracer needs, as functions that raise `OSError`.

Every function must be called from the thread that seized the task: the kernel knows tracers by thread.
Source: ptrace(2), `include/uapi/linux/ptrace.h`.
"""

import ctypes
import os
import struct
from dataclasses import dataclass

__all__ = [
    "EVENT_CLONE",
    "EVENT_EXEC",
    "EVENT_FORK",
    "EVENT_STOP",
    "EVENT_VFORK",
    "WAIT_MINE",
    "Entered",
    "Left",
    "cont_to_syscall",
    "detach",
    "event_message",
    "interrupt",
    "listen",
    "seize",
    "signal_info",
    "syscall_stop",
]

PTRACE_DETACH = 17
PTRACE_SYSCALL = 24
PTRACE_GETEVENTMSG = 0x4201
PTRACE_GETSIGINFO = 0x4202
PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
PTRACE_LISTEN = 0x4208
PTRACE_GET_SYSCALL_INFO = 0x420E

OPTION_SYSGOOD = 0x1
OPTION_FORK = 0x2
OPTION_VFORK = 0x4
OPTION_CLONE = 0x8
OPTION_EXEC = 0x10
OPTION_EXITKILL = 0x100000
FOLLOW = OPTION_SYSGOOD | OPTION_FORK | OPTION_VFORK | OPTION_CLONE | OPTION_EXEC

EVENT_FORK = 1
EVENT_VFORK = 2
EVENT_CLONE = 3
EVENT_EXEC = 4
EVENT_STOP = 128

# __WALL: threads too. __WNOTHREAD: never reap a child that another thread of this process started.
WAIT_MINE = 0x40000000 | 0x20000000

INFO_ENTRY = 1
INFO_EXIT = 2
INFO_HEAD = struct.Struct("=B3xIQQ")
INFO_ARGUMENTS = struct.Struct("=7Q")
INFO_RESULT = struct.Struct("=q?")
INFO_SIZE = 88
SIGINFO_SIZE = 128

libc = ctypes.CDLL(None, use_errno=True)
_ptrace = libc.ptrace
_ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_ptrace.restype = ctypes.c_long


@dataclass(frozen=True, slots=True)
class Entered:
    """A task is about to enter the kernel: audit architecture, call number, six argument registers."""

    arch: int
    number: int
    arguments: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Left:
    """A task is about to leave the kernel with this result (-errno when the call failed)."""

    result: int


def seize(tid: int, *, kill_with_tracer: bool) -> None:
    """Attach to a task without stopping it, following its forks, threads and execs."""
    request(PTRACE_SEIZE, tid, 0, FOLLOW | (OPTION_EXITKILL if kill_with_tracer else 0))


def interrupt(tid: int) -> None:
    """Ask a running or listening task to stop; it reports EVENT_STOP."""
    request(PTRACE_INTERRUPT, tid, 0, 0)


def listen(tid: int) -> None:
    """Leave a task in its job-control stop while still hearing when it is continued."""
    request(PTRACE_LISTEN, tid, 0, 0)


def cont_to_syscall(tid: int, signal: int = 0) -> None:
    """Continue a stopped task to its next system-call stop, delivering `signal` unless it is 0."""
    request(PTRACE_SYSCALL, tid, 0, signal)


def detach(tid: int, signal: int = 0) -> None:
    """Let a stopped task go, delivering `signal` unless it is 0."""
    request(PTRACE_DETACH, tid, 0, signal)


def event_message(tid: int) -> int:
    """The number that came with an event: the new task's id, or at exec the former id."""
    value = ctypes.c_ulong()
    request(PTRACE_GETEVENTMSG, tid, 0, ctypes.addressof(value))
    return value.value


def signal_info(tid: int) -> bytes:
    """The 128 bytes of siginfo_t of the signal being delivered; EINVAL means a job-control stop."""
    buffer = ctypes.create_string_buffer(SIGINFO_SIZE)
    request(PTRACE_GETSIGINFO, tid, 0, ctypes.addressof(buffer))
    return buffer.raw


def syscall_stop(tid: int) -> Entered | Left | None:
    """What a system-call stop is about; None when the task is not in one (Linux 5.3 or later)."""
    buffer = ctypes.create_string_buffer(INFO_SIZE)
    request(PTRACE_GET_SYSCALL_INFO, tid, INFO_SIZE, ctypes.addressof(buffer))
    kind, arch, _, _ = INFO_HEAD.unpack_from(buffer)
    if kind == INFO_ENTRY:
        number, *arguments = INFO_ARGUMENTS.unpack_from(buffer, INFO_HEAD.size)
        return Entered(arch, number, tuple(arguments))
    if kind == INFO_EXIT:
        return Left(INFO_RESULT.unpack_from(buffer, INFO_HEAD.size)[0])
    return None


def request(number: int, tid: int, address: int, data: int) -> int:
    """One ptrace request; raises `OSError` with the kernel's errno."""
    result = _ptrace(number, tid, address, data)
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"ptrace request {number:#x} on task {tid}: {os.strerror(code)}")
    return int(result)
