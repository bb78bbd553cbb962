"""What an administrator reads through /proc/PID/fd: open, deleted and memory files, data waiting in pipes and sockets.

Nothing is consumed: pipes are copied with tee(2), sockets are read with MSG_PEEK.
"""

import errno
import os
import re
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from cloister.observe.findings import Absent
from cloister.observe.prove.kernel_unsafe import copy_descriptor, tee_pipe, waiting_bytes
from cloister.observe.prove.record import Surface
from cloister.observe.prove.wanted import Wanted
from cloister.observe.scan import absence_of

__all__ = ["DescriptorReader", "FileId", "Hit", "file_id", "waiting_at"]

FileId = tuple[int, int]
"""Device and inode."""
PIPE_LIMIT = 1 << 20
FILE_LIMIT = 256 << 20
CLOCK_GRAIN = 10**9  # nanoseconds: file times may lag behind the clock by a tick, on some file systems a second
SECRET_LINK = re.compile(r"(/secretmem|anon_inode:\[?secretmem\]?).*")


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A labelled secret seen on one surface; `where` is for people."""

    label: str
    encoding: str
    surface: Surface
    where: str


def file_id(descriptor: int) -> FileId:
    """The identity of an open file. OSError."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


@dataclass(kw_only=True)
class DescriptorReader:
    """Reads every descriptor of a process.

    Files that did not change since the last look are not read again, and those that did not change since the secret
    was made (`since`, nanoseconds of the epoch) not at all: they cannot hold it.
    """

    wanted: Wanted
    excluded: frozenset[FileId]
    since: int = field(default_factory=time.time_ns)
    seen: dict[tuple[int, ...], tuple[Hit, ...]] = field(default_factory=dict)

    def look(self, pid: int) -> tuple[list[Hit], list[Absent]]:
        """The hits in the descriptors of `pid`, and what could not be read; nothing when the process is gone."""
        hits: list[Hit] = []
        absences: list[Absent] = []
        for number in descriptors(pid):
            try:
                hits.extend(self.look_at(pid, number))
            except (FileNotFoundError, ProcessLookupError):
                continue
            except OSError as error:
                absences.append(absence_of(f"fd {number} of {pid}", error))
        return hits, absences

    def look_at(self, pid: int, number: int) -> Iterator[Hit]:
        """The hits in one descriptor: in its name and in what it holds."""
        link = Path(f"/proc/{pid}/fd/{number}")
        name = str(link.readlink())
        where = f"fd {number} -> {name}"
        yield from self.named(
            self.wanted.search(os.fsencode(name)), Surface.FILE_NAME, f"fd {number}, name of the file"
        )
        if SECRET_LINK.fullmatch(name):
            return
        status = link.stat()
        if (status.st_dev, status.st_ino) in self.excluded:
            return
        if stat.S_ISREG(status.st_mode):
            if not changes_unseen(where) and max(status.st_mtime_ns, status.st_ctime_ns) < self.since - CLOCK_GRAIN:
                return
            if status.st_size > FILE_LIMIT:
                raise OSError(errno.EFBIG, f"{where} is larger than {FILE_LIMIT} bytes and was not searched")
            yield from self.look_in_file(link, where, status)
        elif stat.S_ISFIFO(status.st_mode):
            yield from self.named(self.wanted.search(peek_pipe(link)), Surface.PIPE, where)
        elif stat.S_ISSOCK(status.st_mode):
            yield from self.named(self.wanted.search(peek_socket(pid, number)), Surface.DESCRIPTOR, where)

    def look_in_file(self, link: Path, where: str, status: os.stat_result) -> tuple[Hit, ...]:
        """The hits in a regular file, deleted and memory files included."""
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if key not in self.seen or changes_unseen(where):
            found = self.wanted.search_file(link)
            self.seen[key] = tuple(self.named(found, Surface.DESCRIPTOR, where))
        return self.seen[key]

    def named(self, found: set[tuple[str, str]], surface: Surface, where: str) -> Iterator[Hit]:
        """(label, encoding) pairs as hits."""
        return (Hit(label=label, encoding=encoding, surface=surface, where=where) for label, encoding in found)


def changes_unseen(where: str) -> bool:
    """Memory files change through mappings without a new modification time; sealed ones cannot change."""
    return ("/memfd:" in where and "/memfd:cloister-text" not in where) or "-> /dev/shm/" in where


def descriptors(pid: int) -> list[int]:
    """The open descriptors of a process; none when it is gone. PermissionError when they may not be listed."""
    try:
        return sorted(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return []


def peek_pipe(link: Path) -> bytes:
    """The bytes that wait in a pipe; they stay there."""
    source = os.open(link, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    reader, writer = os.pipe()
    try:
        copied = tee_pipe(source, writer, PIPE_LIMIT)
        return os.read(reader, copied) if copied else b""
    finally:
        for descriptor in (source, reader, writer):
            os.close(descriptor)


def waiting_at(pid: int) -> int:
    """Bytes that wait at the standard input of a process; one for a process that has not begun, none once it is gone.

    PermissionError where nobody may look.
    """
    if not pid:
        return 1
    try:
        copy = copy_descriptor(pid, 0)
    except PermissionError:
        raise
    except OSError:
        return 0
    try:
        return waiting_bytes(copy)
    finally:
        os.close(copy)


def peek_socket(pid: int, number: int) -> bytes:
    """The bytes that wait to be received on a socket; they stay there. Listening and broken sockets hold none."""
    with closing(socket.socket(fileno=copy_descriptor(pid, number))) as copy:
        try:
            return copy.recv(PIPE_LIMIT, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return b""
