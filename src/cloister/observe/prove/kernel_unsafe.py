"""System calls that Python's library does not offer, through ctypes: tee(2), prctl(2), pidfd_getfd(2), fanotify."""

import ctypes
import errno
import fcntl
import os
import termios
from pathlib import Path

__all__ = ["adopt_orphans", "copy_descriptor", "mark_mount", "open_fanotify", "tee_pipe", "waiting_bytes"]

PR_SET_CHILD_SUBREAPER = 36
SPLICE_F_NONBLOCK = 2

FAN_CLASS_NOTIF, FAN_CLOEXEC, FAN_NONBLOCK, FAN_UNLIMITED_QUEUE = 0x0, 0x1, 0x2, 0x10
FAN_MARK_ADD, FAN_MARK_FILESYSTEM = 0x1, 0x100
FAN_CLOSE_WRITE = 0x8
AT_FDCWD = -100
SYS_PIDFD_GETFD = 438  # the same number on every architecture

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.tee.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_size_t, ctypes.c_uint]
LIBC.tee.restype = ctypes.c_ssize_t
LIBC.fanotify_mark.argtypes = [ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p]


def adopt_orphans(*, on: bool) -> None:
    """Become (or cease to be) the parent of descendants whose own parent dies, so that none escapes the sampling.

    prctl(2), PR_SET_CHILD_SUBREAPER. Raises OSError.
    """
    if LIBC.prctl(PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0) != 0:
        raise failure("prctl(PR_SET_CHILD_SUBREAPER)")


def tee_pipe(source: int, sink: int, limit: int) -> int:
    """Copy up to `limit` bytes that wait in pipe `source` into pipe `sink` without consuming them: tee(2).

    Returns the number of bytes copied; 0 when the source is empty. Raises OSError.
    """
    copied = int(LIBC.tee(source, sink, limit, SPLICE_F_NONBLOCK))
    if copied >= 0:
        return copied
    if ctypes.get_errno() == errno.EAGAIN:
        return 0
    raise failure("tee")


def copy_descriptor(pid: int, number: int) -> int:
    """A descriptor of ours for what descriptor `number` of process `pid` refers to: pidfd_getfd(2). Raises OSError."""
    handle = os.pidfd_open(pid)
    try:
        copy = int(LIBC.syscall(SYS_PIDFD_GETFD, handle, number, 0))
        if copy < 0:
            raise failure("pidfd_getfd")
        return copy
    finally:
        os.close(handle)


def open_fanotify() -> int:
    """A fanotify group that reports files and hands out read-only descriptors for them: fanotify_init(2). OSError."""
    flags = FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE
    descriptor = int(LIBC.fanotify_init(flags, os.O_RDONLY | os.O_CLOEXEC | os.O_LARGEFILE))
    if descriptor < 0:
        raise failure("fanotify_init")
    return descriptor


def mark_mount(group: int, path: Path) -> None:
    """Report every close of a file that was open for writing, on the whole file system of `path`: fanotify_mark(2)."""
    flags = FAN_MARK_ADD | FAN_MARK_FILESYSTEM
    if LIBC.fanotify_mark(group, flags, FAN_CLOSE_WRITE, AT_FDCWD, os.fsencode(path)) != 0:
        raise failure(f"fanotify_mark({path})")


def waiting_bytes(stream: int) -> int:
    """Bytes in a pipe, terminal, socket or fanotify group that nobody has read yet: FIONREAD. Raises OSError."""
    answer = fcntl.ioctl(stream, termios.FIONREAD, bytes(4))
    return int.from_bytes(answer, "little")


def failure(call: str) -> OSError:
    """The OSError for the errno that libc left behind."""
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
