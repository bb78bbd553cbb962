"""What an administrator may try, as plain calls: each raises OSError, or returns what it got."""

import contextlib
import ctypes
import os
import resource
import struct
from collections.abc import Iterator

SEIZE, ATTACH, DETACH, TRACEME, CONTINUE = 0x4206, 16, 17, 0, 7
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 0x00050000, 0x7FFF0000
SYS_PIDFD_GETFD, SYS_MSEAL = 438, 462
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
F_GET_SEALS = 1034

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = _libc.syscall.restype = ctypes.c_long
_libc.process_vm_readv.restype = _libc.process_vm_writev.restype = ctypes.c_ssize_t


class Span(ctypes.Structure):
    """struct iovec."""

    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]


def checked(result: int, what: str) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result


def ptrace(request: int, tid: int = 0, address: int = 0, data: int = 0) -> int:
    """One request; the kernel's answer."""
    words = (ctypes.c_long(tid), ctypes.c_void_p(address), ctypes.c_void_p(data))
    return checked(int(_libc.ptrace(ctypes.c_long(request), *words)), f"ptrace {request:#x}")


def vm_read(pid: int, address: int, size: int) -> bytes:
    """process_vm_readv(2)."""
    room = ctypes.create_string_buffer(size)
    own, theirs = Span(ctypes.addressof(room), size), Span(address, size)
    got = checked(_libc.process_vm_readv(pid, ctypes.byref(own), 1, ctypes.byref(theirs), 1, 0), "process_vm_readv")
    return room.raw[:got]


def vm_write(pid: int, address: int, data: bytes) -> int:
    """process_vm_writev(2); bytes written."""
    room = ctypes.create_string_buffer(data, len(data))
    own, theirs = Span(ctypes.addressof(room), len(data)), Span(address, len(data))
    return checked(_libc.process_vm_writev(pid, ctypes.byref(own), 1, ctypes.byref(theirs), 1, 0), "process_vm_writev")


def mem_read(pid: int, address: int, size: int) -> bytes:
    """/proc/PID/mem."""
    with open_file(f"/proc/{pid}/mem", os.O_RDONLY) as fd:
        return os.pread(fd, size, address)


def mem_write(pid: int, address: int, data: bytes) -> int:
    """/proc/PID/mem; bytes written."""
    with open_file(f"/proc/{pid}/mem", os.O_RDWR) as fd:
        return os.pwrite(fd, data, address)


@contextlib.contextmanager
def open_file(path: str, flags: int) -> Iterator[int]:
    """A descriptor that is closed again."""
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def take_descriptor(pidfd: int, number: int) -> int:
    """pidfd_getfd(2): a copy of another process's descriptor, or -1."""
    return int(_libc.syscall(SYS_PIDFD_GETFD, pidfd, number, 0))


def raise_core_limit(pid: int) -> None:
    """prlimit(2): core files of any size for another process, or, without CAP_SYS_RESOURCE, up to its hard limit."""
    try:
        resource.prlimit(pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (PermissionError, ValueError):
        _, most = resource.prlimit(pid, resource.RLIMIT_CORE)
        resource.prlimit(pid, resource.RLIMIT_CORE, (most, most))


def answer_like_a_filter(number: int, error: int) -> None:
    """Put this process under a seccomp filter that answers one call with -error and allows the rest."""
    code = struct.pack(
        "<" + "HBBI" * 4,
        0x20,
        0,
        0,
        0,
        0x15,
        0,
        1,
        number,
        0x06,
        0,
        0,
        SECCOMP_RET_ERRNO | error,
        0x06,
        0,
        0,
        SECCOMP_RET_ALLOW,
    )
    room = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", 4, ctypes.addressof(room)))
    checked(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    checked(_libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_void_p(ctypes.addressof(program))), "seccomp")
