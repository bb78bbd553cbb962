"""What a program's descriptors stand for: files of the host, the console, and devices that live inside the TEE."""

# ruff: noqa: ARG002 - what a kind of file cannot do, it refuses whatever the arguments

import os
from collections import deque
from typing import Final

from .checks import HostLied, check_count, check_entry, check_handle, check_identity, check_status
from .console import LARGEST_INPUT, Line, Stream
from .link import HostLink
from .messages import LARGEST_DATA, FileStatus, Operation
from .outcome import Failed

__all__ = ["ConsoleFile", "Device", "Entry", "HostFile", "OpenFile"]

EBADF, EISDIR, ENOTDIR, EINVAL, ENOSPC, ESPIPE, ENODEV = 9, 21, 20, 22, 28, 29, 19
O_ACCESS: Final = 3
O_APPEND: Final = 0o2000
LARGEST_OFFSET: Final = (1 << 63) - 1
LARGEST_MAPPING: Final = 1 << 30
Entry = tuple[int, int, bytes]
"""Inode, type as in d_type, and name of a directory entry."""


class OpenFile:
    """An open file description. Methods are system calls' kernel sides; what a kind cannot do fails as in Linux.

    `path` is absolute; `flags` are those of open(2); `regular` files have offsets and are read in several chunks.
    """

    regular = False
    largest = LARGEST_DATA
    """Most bytes of one read or write."""

    def __init__(self, path: bytes, flags: int, mode: int) -> None:
        self.path, self.flags, self._mode = path, flags, mode

    def read(self, size: int) -> bytes:
        """At most `size` bytes, none at the end."""
        raise Failed(EBADF)

    def write(self, data: bytes) -> int:
        """How many bytes were taken."""
        raise Failed(EBADF)

    def read_at(self, size: int, offset: int) -> bytes:
        """As read, without a position."""
        raise Failed(ESPIPE)

    def write_at(self, data: bytes, offset: int) -> int:
        """As write, without a position."""
        raise Failed(ESPIPE)

    def seek(self, offset: int, whence: int) -> int:
        """The new position."""
        raise Failed(ESPIPE)

    def status(self) -> FileStatus:
        """What fstat shows of something that is no file of the host's."""
        return status_of(self._mode)

    def snapshot(self, offset: int, size: int) -> bytes:
        """The bytes that a private mapping of this file holds."""
        raise Failed(ENODEV)

    def entries(self) -> deque[Entry]:
        """The directory entries that have not been read; whoever takes one removes it."""
        raise Failed(ENOTDIR)

    def handle(self) -> int:
        """The host's number for this file."""
        raise Failed(EINVAL)

    def close(self) -> None:
        """The last descriptor is gone."""


def status_of(mode: int) -> FileStatus:
    """A status for what lives inside the TEE."""
    names = ("device", "inode", "links", "user", "group", "special_device", "size", "blocks", "accessed", "modified")
    return FileStatus(mode=mode, block_size=4096, changed=0, **dict.fromkeys(names, 0))


class ConsoleFile(OpenFile):
    """Descriptor 0, 1 or 2: input is one record of the console's line a read, and what did not fit is kept."""

    largest = LARGEST_INPUT

    def __init__(self, stream: Stream, line: Line, link: HostLink, *, interactive: bool) -> None:
        super().__init__(b"/dev/console", 0 if stream == Stream.INPUT else 1, 0o020620 if interactive else 0o010600)
        self._stream, self._line, self._link = stream, line, link
        self._rest = b""

    def read(self, size: int) -> bytes:
        """What the owner typed. HostLied if a record was changed, left out or repeated."""
        if self._stream != Stream.INPUT:
            raise Failed(EBADF)
        if not self._rest and size:
            count, record = self._link.ask(Operation.CONSOLE_READ, LARGEST_INPUT)
            check_count("CONSOLE_READ", count, LARGEST_DATA, record)
            self._rest = self._line.unwrap(record)
            check_count("CONSOLE_READ", len(self._rest), LARGEST_INPUT)
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def write(self, data: bytes) -> int:
        """All of the data goes out, wrapped."""
        if self._stream == Stream.INPUT:
            raise Failed(EBADF)
        self._link.ask(Operation.CONSOLE_WRITE, data=self._line.wrap(self._stream, data))
        return len(data)


class Device(OpenFile):
    """/dev/null, zero, full, random and urandom: the host must not choose what a program takes for randomness."""

    KINDS: Final = frozenset({b"/dev/null", b"/dev/zero", b"/dev/full", b"/dev/random", b"/dev/urandom"})

    def __init__(self, path: bytes, flags: int) -> None:
        super().__init__(path, flags, 0o020666)

    def read(self, size: int) -> bytes:
        """Nothing, zeros, or bytes from the TEE's own entropy."""
        if self.flags & O_ACCESS == 1:
            raise Failed(EBADF)
        if self.path == b"/dev/null":
            return b""
        return os.urandom(size) if self.path.endswith(b"random") else bytes(size)

    def write(self, data: bytes) -> int:
        """Taken and forgotten; /dev/full is full."""
        if self.flags & O_ACCESS == 0:
            raise Failed(EBADF)
        if self.path == b"/dev/full":
            raise Failed(ENOSPC)
        return len(data)

    def seek(self, offset: int, whence: int) -> int:
        """Always at the beginning, as Linux's memory devices."""
        return 0


class HostFile(OpenFile):
    """A file that the host opened. The shim keeps the position, so that the host cannot lie about it."""

    def __init__(self, path: bytes, flags: int, link: HostLink, handle: int, status: FileStatus) -> None:
        super().__init__(path, flags, status.mode)
        self._link, self._handle, self._status = link, handle, status
        self.regular = status.mode & 0o170000 in {0o100000, 0o060000}
        self._directory = status.mode & 0o170000 == 0o040000
        self._position = 0
        self._entries: deque[Entry] | None = None
        self.mounted: list[Entry] = []  # directories of the TEE's own that stand in this one

    @classmethod
    def open(cls, link: HostLink, path: bytes, flags: int, mode: int, used: set[int]) -> "HostFile":
        """Ask the host to open a path. `used` are the handles of all open files, and gains the new one."""
        handle, data = link.ask(Operation.OPEN, flags, mode, data=path)
        check_handle("OPEN", handle, used)
        file = cls(path, flags, link, handle, check_status("OPEN", data))
        used.add(handle)
        return file

    def handle(self) -> int:
        """The host's number."""
        return self._handle

    def close(self) -> None:
        """Tell the host."""
        self._link.ask(Operation.CLOSE, self._handle)

    def read(self, size: int) -> bytes:
        """From the position on, which moves."""
        if self._directory:
            raise Failed(EISDIR)
        if self.regular:
            data = self.read_at(size, self._position)
            self._position += len(data)
            return data
        count, data = self._link.ask(Operation.READ, self._handle, size)
        check_count("READ", count, size, data)
        return data

    def write(self, data: bytes) -> int:
        """At the position, or at the end if the file was opened for appending."""
        if self.regular and not self.flags & O_APPEND:
            count = self.write_at(data, self._position)
            self._position += count
            return count
        count = check_count("WRITE", self._link.ask(Operation.WRITE, self._handle, data=data)[0], len(data))
        if self.regular:
            self._position = self.status().size
        return count

    def read_at(self, size: int, offset: int) -> bytes:
        """The system call pread."""
        self._check_offset(offset)
        count, data = self._link.ask(Operation.READ_AT, self._handle, size, offset)
        check_count("READ_AT", count, size, data)
        return data

    def write_at(self, data: bytes, offset: int) -> int:
        """The system call pwrite."""
        self._check_offset(offset)
        count, _ = self._link.ask(Operation.WRITE_AT, self._handle, offset, data=data)
        return check_count("WRITE_AT", count, len(data))

    def _check_offset(self, offset: int) -> None:
        if not self.regular:
            raise Failed(EISDIR if self._directory else ESPIPE)
        if offset < 0:
            raise Failed(EINVAL)

    def seek(self, offset: int, whence: int) -> int:
        """SEEK_SET 0, SEEK_CUR 1, SEEK_END 2. Only the last needs the host's word, for the size."""
        if self._directory:
            self._entries = None
            return self._rewind(offset, whence)
        if not self.regular:
            raise Failed(ESPIPE)
        if whence not in {0, 1, 2}:
            raise Failed(EINVAL)
        base = (0, self._position, self.status().size if whence == 2 else 0)[whence]
        if not 0 <= base + offset <= LARGEST_OFFSET:
            raise Failed(EINVAL)
        self._position = base + offset
        return self._position

    def _rewind(self, offset: int, whence: int) -> int:
        if offset or whence:
            raise Failed(EINVAL)
        return 0

    def status(self) -> FileStatus:
        """The system call fstat. HostLied if it is not the file that was opened."""
        _, data = self._link.ask(Operation.HANDLE_STATUS, self._handle)
        status = check_status("HANDLE_STATUS", data)
        check_identity("HANDLE_STATUS", self._status, status)
        return status

    def snapshot(self, offset: int, size: int) -> bytes:
        """The mapped part of the file as it is now. HostLied if a read contradicts the size that was just stated."""
        if not self.regular:
            raise Failed(ENODEV)
        size = min(size, max(self.status().size - offset, 0))
        if size > LARGEST_MAPPING:
            raise Failed(12)  # ENOMEM: no emulated machine has so much
        parts: list[bytes] = []
        for start in range(offset, offset + size, LARGEST_DATA):
            part = min(LARGEST_DATA, offset + size - start)
            parts.append(self.read_at(part, start))
            if len(parts[-1]) != part:
                raise HostLied("READ_AT", f"the file ends at {start + len(parts[-1])}; its stated size reaches further")
        return b"".join(parts)

    def entries(self) -> deque[Entry]:
        """Fetched from the host by the message, checked by the name."""
        if not self._directory:
            raise Failed(ENOTDIR)
        if self._entries is None:
            self._entries, position = deque(), 0
            while batch := self._batch(position):
                self._entries.extend(batch)
                position += len(batch)
            names = {name for _, _, name in self.mounted}
            self._entries = deque([one for one in self._entries if one[2] not in names] + self.mounted)
        return self._entries

    def _batch(self, position: int) -> list[Entry]:
        """Entries from one on. In a message each is inode (8 bytes), type (1), length of the name (2), name."""
        count, data = self._link.ask(Operation.LIST, self._handle, position)
        found: list[Entry] = []
        at = 0
        while at + 11 <= len(data):
            end = at + 11 + int.from_bytes(data[at + 9 : at + 11], "little")
            name = check_entry("LIST", data[at + 11 : end])
            found.append((int.from_bytes(data[at : at + 8], "little"), data[at + 8], name))
            at = end
        if at != len(data) or len(found) != count or position + count > 1 << 20:
            raise HostLied("LIST", f"{count} entries announced, {len(found)} found in {len(data)} bytes")
        return found
