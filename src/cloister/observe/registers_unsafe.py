"""Registers of a process's threads, by the shortest ptrace that gives them (ptrace(2)): seize, interrupt, read, detach.

A guard that already traces the threads makes PTRACE_SEIZE fail with EPERM: that is an `Absent`, not an error.
If this program is killed meanwhile, the kernel detaches and the threads run on.
"""

import contextlib
import ctypes
import errno
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cloister.observe.elflayout import NoteType
from cloister.observe.family import read_status
from cloister.observe.findings import Absent, Reason

__all__ = ["Registers", "Thread", "Threads", "stopped"]

SEIZE, INTERRUPT, GETREGSET, DETACH = 0x4206, 0x4207, 0x4204, 17
EVENT_STOP = 128
WAIT_ALL = 0x40000000  # __WALL: threads too
STOP_SECONDS = 2.0
LARGEST_SET = 1 << 16
SETS = (NoteType.PRSTATUS, NoteType.FPREGSET, NoteType.X86_XSTATE)

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
libc.ptrace.restype = ctypes.c_long


class Vector(ctypes.Structure):
    """`struct iovec`, through which PTRACE_GETREGSET returns a register set and its size."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


Registers = dict[int, bytes]
"""Register sets by note type, as the kernel lays them out (`user_regs_struct` under PRSTATUS)."""


@dataclass(frozen=True, kw_only=True)
class Thread:
    """One stopped thread. `signal` is one that waited for it when it stopped, to be handed back; 0 for none."""

    tid: int
    signal: int
    registers: Registers = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Threads:
    """The threads that stopped, the process's first thread first, and those that could not be stopped."""

    stopped: tuple[Thread, ...]
    absences: tuple[Absent, ...]


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[Threads]:
    """Stop all threads of `pid`, hand over their registers, and let them go on at the end.

    Call it and leave it on one thread: ptrace is per thread of the tracer.
    """
    absences: list[Absent] = []
    seized = list(seize_all(pid, absences))
    threads: list[Thread] = []
    try:
        for tid in seized:
            ptrace(INTERRUPT, tid)
        deadline = time.monotonic() + STOP_SECONDS
        for tid in seized:
            wait_stop(tid, deadline, threads, absences)
        yield Threads(stopped=tuple(threads), absences=tuple(absences))
    finally:
        for thread in threads:
            ptrace(DETACH, thread.tid, thread.signal)


def ptrace(request: int, tid: int, data: int | None = None, address: int = 0) -> int:
    """Make the call; gives errno, or 0."""
    return ctypes.get_errno() if libc.ptrace(request, tid, address, data) < 0 else 0


def seize_all(pid: int, absences: list[Absent]) -> Iterator[int]:
    """Seize every thread, those that start meanwhile too; yields each that was."""
    tried: set[int] = set()
    while new := [tid for tid in thread_ids(pid) if tid not in tried]:
        for tid in new:
            tried.add(tid)
            error = ptrace(SEIZE, tid)
            if error == 0:
                yield tid
            elif error != errno.ESRCH:
                absences.append(refusal(tid, error))


def thread_ids(pid: int) -> list[int]:
    """The threads of a process, its first thread first; none when it has ended."""
    try:
        tids = [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return []
    return sorted(tids, key=lambda tid: (tid != pid, tid))


def refusal(tid: int, error: int) -> Absent:
    """Why a thread could not be seized: it has a tracer already, or this user may not."""
    try:
        tracer = read_status(tid).tracer
    except OSError:
        tracer = 0
    where = f"registers of thread {tid}"
    if tracer:
        return Absent(where=where, reason=Reason.TRACED, detail=f"{os.strerror(error)}: traced by {tracer}")
    return Absent(where=where, reason=Reason.DENIED, detail=os.strerror(error))


def wait_stop(tid: int, deadline: float, threads: list[Thread], absences: list[Absent]) -> None:
    """Wait until a seized thread has stopped, and read its registers."""
    while True:
        try:
            found, status = os.waitpid(tid, WAIT_ALL | os.WNOHANG)
        except ChildProcessError:
            return
        if found and os.WIFSTOPPED(status):
            signal = 0 if status >> 16 == EVENT_STOP else os.WSTOPSIG(status)
            threads.append(Thread(tid=tid, signal=signal, registers=read_registers(tid)))
            return
        if found:  # it has ended
            return
        if time.monotonic() > deadline:
            detail = f"it did not stop within {STOP_SECONDS:.0f} seconds"
            absences.append(Absent(where=f"registers of thread {tid}", reason=Reason.FAILED, detail=detail))
            return
        time.sleep(0.001)


def read_registers(tid: int) -> Registers:
    """The register sets that this machine has."""
    buffer = ctypes.create_string_buffer(LARGEST_SET)
    registers = {}
    for kind in SETS:
        vector = Vector(ctypes.addressof(buffer), LARGEST_SET)
        if ptrace(GETREGSET, tid, ctypes.addressof(vector), kind) == 0:
            registers[kind] = buffer.raw[: vector.length]
    return registers
