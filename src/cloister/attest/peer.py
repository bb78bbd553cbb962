"""What the host sees itself of a process: which file it executes, who traces it, whether it is still the same one.

A process id alone names whoever has it now. So each process is held by a pidfd (pidfd_open(2)), and what was read under
its number counts only if the pidfd says afterwards that the process still lives.
"""

import hashlib
import os
import select
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self, TypeVar

from cloister.errors import NotAttested

__all__ = ["File", "Process", "connected", "file_digest", "file_of"]

CREDENTIALS: Final = struct.Struct("3i")
SO_PEERPIDFD: Final = 77
"""asm-generic/socket.h, Linux 6.5; the socket module has no name for it."""
START_TIME: Final = 22 - 3
"""proc_pid_stat(5), field 22, counted from the first field behind the name."""

File = tuple[int, int]
"""Device and inode."""
T = TypeVar("T")


class Process:
    """One process, held by a pidfd. A context manager; or `close` it."""

    def __init__(self, pid: int, pidfd: int | None = None) -> None:
        """Take hold of the process that has this id now, or is already held by `pidfd`. NotAttested if it has ended."""
        try:
            self.pidfd = os.pidfd_open(pid) if pidfd is None else pidfd
        except OSError as error:
            raise NotAttested(f"process {pid} cannot be looked at: {error.strerror}") from None
        self.pid = pid
        try:
            self.started = self._seen(lambda: _start_time(pid))
        except NotAttested:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether it has not ended: a pidfd becomes readable when it has."""
        waiting = select.poll()
        waiting.register(self.pidfd, select.POLLIN)
        return not waiting.poll(0)

    @property
    def tracer(self) -> int:
        """The id of who traces it, 0 if nobody does."""
        return int(self._seen(lambda: _status(self.pid)["TracerPid"]))

    @property
    def name(self) -> str:
        """Its name as the kernel has it, at most 15 bytes."""
        return self._seen(lambda: _status(self.pid)["Name"])

    @property
    def filters(self) -> int:
        """How many seccomp filters it stands under (before Linux 5.9: 2 for any number)."""

        def look() -> int:
            status = _status(self.pid)
            return int(status.get("Seccomp_filters", status["Seccomp"]))

        return self._seen(look)

    @property
    def file(self) -> File | None:
        """Which file it executes; None if this user may not look, as with a runtime that has capabilities."""
        try:
            return self._seen(lambda: file_of(self._exe))
        except PermissionError:
            return None

    def digest(self) -> bytes | None:
        """SHA-256 of the file that it executes; None if this user may not look."""
        try:
            return self._seen(lambda: file_digest(self._exe))
        except PermissionError:
            return None

    def same(self, other: "Process") -> bool:
        """Whether both are one process."""
        return (self.pid, self.started) == (other.pid, other.started)

    @property
    def _exe(self) -> str:
        return f"/proc/{self.pid}/exe"

    def _seen(self, look: Callable[[], T]) -> T:
        """What was found under the process's number, which was still its own afterwards."""
        try:
            found = look()
        except (FileNotFoundError, ProcessLookupError, KeyError):
            raise NotAttested(f"process {self.pid} has ended") from None
        if not self.alive:
            raise NotAttested(f"process {self.pid} has ended")
        return found

    def close(self) -> None:
        """Let go of it. May be repeated."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _status(pid: int) -> dict[str, str]:
    text = Path(f"/proc/{pid}/status").read_bytes().decode("utf-8", "surrogateescape")
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def _start_time(pid: int) -> int:
    """In clock ticks since boot. A name may have spaces and parentheses in it, but no field behind it has."""
    text = Path(f"/proc/{pid}/stat").read_bytes().decode("utf-8", "surrogateescape")
    return int(text[text.rindex(")") + 1 :].split()[START_TIME])


def file_of(path: str) -> File:
    """Which file stands there."""
    status = Path(path).stat()
    return status.st_dev, status.st_ino


def file_digest(path: str) -> bytes:
    """SHA-256 of a file's content."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def connected(sock: socket.socket) -> Process:
    """Who connected to this unix socket. NotAttested for another user's process, or one that cannot be seen."""
    pid, user, _ = CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    if user != os.geteuid():
        raise NotAttested(f"a process of user {user} asks; only processes of user {os.geteuid()} are answered")
    if pid == 0:
        raise NotAttested("a process of another pid namespace asks, which cannot be looked at from here")
    return Process(pid, _pidfd(sock))


def _pidfd(sock: socket.socket) -> int | None:
    """The peer itself, even if its number is somebody else's by now; None on kernels that cannot tell."""
    try:
        descriptor = sock.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
    except OSError:
        return None
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - the standard library's
    return descriptor
