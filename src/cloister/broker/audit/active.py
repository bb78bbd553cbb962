"""The active segment: the one file of a log that is written, by the one process that holds its lock."""

import fcntl
import os
from pathlib import Path

from cloister.broker.audit.segments import segment_path
from cloister.errors import Undecided, UsageError

__all__ = ["ActiveSegment", "LogBusy", "LogUnusable", "lock", "sync_directory"]

MODE = 0o600
"""Who may get what, and asked when, is not for everybody."""


class LogBusy(UsageError):
    """Another process writes this log."""


class LogUnusable(Undecided):
    """Nothing can be recorded in this log, so nothing may be released, and nothing is denied.

    After a failed write nobody knows what the disk has. The log must be opened again, which looks.
    """


def lock(path: Path) -> int:
    """Become the one writer of the log at `path`: a descriptor that holds the lock until it is closed. LogBusy if not.

    The lock stands beside the log and is never deleted, so it outlives closed segments. The kernel gives it up when the
    process ends, however it ends.
    """
    name = path.with_name(f"{path.name}.lock")
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, MODE)
    except OSError as error:
        raise UsageError(f"cannot open the lock {name}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise LogBusy(
            f"{path}: process {holder} is writing this log; a log has one writer, so give each broker its own file"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def sync_directory(path: Path) -> None:
    """Make names in the directory of `path` durable: those made, renamed and removed."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class ActiveSegment:
    """The file that is appended to. `size` is what it has, in bytes, all of it complete and durable lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        self.size = os.fstat(self._file).st_size

    @classmethod
    def create(cls, path: Path) -> "ActiveSegment":
        """A new empty file; whatever has its name already is left alone, and refused."""
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE))
        sync_directory(path)
        return cls(path)

    def append(self, data: bytes) -> None:
        """Write whole lines, and return when they are on the disk. LogUnusable if that is not certain."""
        try:
            self._check_untouched()
            written = 0
            while written < len(data):
                written += os.write(self._file, data[written:])
            os.fdatasync(self._file)  # the size counts as data needed to read it back: fdatasync(2)
        except OSError as error:
            raise LogUnusable(
                f"{self.path}: cannot record an entry ({error.strerror}); nothing may be released until the broker has "
                "been started again"
            ) from error
        self.size += len(data)

    def cut(self, size: int) -> None:
        """Take away what stands behind the last complete line, durably."""
        os.ftruncate(self._file, size)
        os.fsync(self._file)
        self.size = size

    def close_as(self, first: int) -> None:
        """Make this a closed segment that begins with entry `first`."""
        closed = segment_path(self.path, first)
        if closed.exists():
            raise LogUnusable(f"{closed} is in the way: a segment of this log is to be closed under that name")
        self.path.rename(closed)
        sync_directory(self.path)
        self.close()

    def close(self) -> None:
        """Close the file. May be repeated."""
        descriptor, self._file = self._file, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _check_untouched(self) -> None:
        mine, there = os.fstat(self._file), self.path.stat()
        if not os.path.samestat(mine, there) or mine.st_size != self.size:
            raise LogUnusable(
                f"{self.path}: somebody else removed, replaced or changed the log while it was open; keep what is "
                "left, and run `cloister log verify` on it with your last checkpoint"
            )
