"""Reading another process's memory: process_vm_readv(2), and /proc/PID/mem where that call is not allowed.

Neither can read secret memory: memfd_secret(2) pages answer EFAULT and EIO, which becomes a typed reason here.
"""

import ctypes
import errno
import os
from collections.abc import Callable
from typing import Protocol

from cloister.errors import ObservationError
from cloister.observe.maps import MappingKind, read_maps
from cloister.observe.trace.record import Unreadable

__all__ = ["NOT_AN_ADDRESS", "NOT_MAPPED", "SECRET_MEMORY", "Memory", "ProcessMemory"]

SECRET_MEMORY = "secret memory"  # noqa: S105 - a reason, not a password
NOT_AN_ADDRESS = "not an address"
NOT_MAPPED = "not mapped or not readable"
USER_TOP = 1 << 47


class IoVec(ctypes.Structure):
    """struct iovec of readv(2)."""

    _fields_ = (("base", ctypes.c_uint64), ("length", ctypes.c_size_t))


libc = ctypes.CDLL(None, use_errno=True)
_readv = libc.process_vm_readv
_readv.argtypes = (
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_ulong,
    ctypes.c_void_p,
    ctypes.c_ulong,
    ctypes.c_ulong,
)
_readv.restype = ctypes.c_ssize_t


class Memory(Protocol):
    """Where decoders read what an argument points to."""

    def read(self, pid: int, address: int, size: int) -> bytes | Unreadable:
        """At most `size` bytes; fewer where a mapping ends; `Unreadable` when not even the first byte."""

    def forget(self, pid: int) -> None:
        """The process ended or executed another program."""


class ProcessMemory:
    """The memory of live processes."""

    def __init__(self) -> None:
        self._secret: dict[int, list[tuple[int, int]]] = {}
        self._read: Callable[[int, int, int], bytes] = read_by_call

    def read(self, pid: int, address: int, size: int) -> bytes | Unreadable:
        """At most `size` bytes of a process at `address`, or why not."""
        if size <= 0:
            return b""
        if not 0 < address < USER_TOP:
            return Unreadable(reason=NOT_AN_ADDRESS)
        try:
            return self._read(pid, address, min(size, USER_TOP - address))
        except OSError as error:
            if error.errno in (errno.EPERM, errno.ENOSYS) and self._read is read_by_call:
                self._read = read_by_file
                return self.read(pid, address, size)
            return Unreadable(reason=self.reason(pid, address, error))

    def reason(self, pid: int, address: int, error: OSError) -> str:
        """Why an address could not be read, as precisely as the process's map of memory tells."""
        if within(address, self._secret.get(pid, [])):
            return SECRET_MEMORY
        if error.errno in (errno.ESRCH, errno.ENOENT):
            return "the process has ended"
        if error.errno in (errno.EPERM, errno.EACCES):
            return "permission denied"
        self._secret[pid] = secret_ranges(pid)
        return SECRET_MEMORY if within(address, self._secret[pid]) else NOT_MAPPED

    def forget(self, pid: int) -> None:
        """Drop what was known of a process that ended or executed another program."""
        self._secret.pop(pid, None)


def read_by_call(pid: int, address: int, size: int) -> bytes:
    """process_vm_readv of one range."""
    buffer = ctypes.create_string_buffer(size)
    here = IoVec(ctypes.addressof(buffer), size)
    there = IoVec(address, size)
    count = _readv(pid, ctypes.addressof(here), 1, ctypes.addressof(there), 1, 0)
    if count < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return ctypes.string_at(buffer, count)


def read_by_file(pid: int, address: int, size: int) -> bytes:
    """The same through /proc/PID/mem."""
    file = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(file, size, address)
    finally:
        os.close(file)


def within(address: int, ranges: list[tuple[int, int]]) -> bool:
    """True when the address lies in one of the [start, end) ranges."""
    return any(start <= address < end for start, end in ranges)


def secret_ranges(pid: int) -> list[tuple[int, int]]:
    """The address ranges of a process that are mapped from memfd_secret(2)."""
    try:
        mappings = read_maps(pid)
    except (OSError, ObservationError):
        return []
    return [(mapping.start, mapping.end) for mapping in mappings if mapping.kind is MappingKind.SECRET]
