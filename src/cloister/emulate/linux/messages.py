"""What crosses between the shim and the untrusted host: fixed headers and bytes, never a pointer.

    HostCall                             HostReply
    0   operation    u16                 0   operation    u16   the call's
    2   zero         2 bytes             2   zero         2 bytes
    4   length       u32 of data         4   length       u32 of data
    8   sequence     u64                 8   sequence     u64   the call's
    16  first        u64                 16  error        u32   0, or the errno
    24  second       u64                 20  zero         4 bytes
    32  third        u64                 24  value        u64
    40  data                             32  data

Numbers are little-endian. A message fits into the bounce buffer, which is shared memory: whoever administers the
machine reads and changes it. The copy that is parsed must be taken out of it once.
"""

from enum import IntEnum
from typing import Final, TypeVar

from cloister._wire import Record, reserved, u16, u32, u64
from cloister.errors import ParseError

__all__ = ["BOUNCE_BUFFER", "LARGEST_DATA", "FileStatus", "HostCall", "HostReply", "Operation", "split"]

BOUNCE_BUFFER: Final = 64 * 1024
"""Bytes of shared memory between shim and host."""

LARGEST_DATA: Final = 15 * 4096
"""Most bytes of data in one message: whole pages, and room for the header."""


class Operation(IntEnum):
    """What the shim can ask for: `first, second, third; data -> value; data`. Paths are absolute, offsets in bytes."""

    CONSOLE_READ = 1  # size -> count; data
    CONSOLE_WRITE = 2  # data ->
    OPEN = 3  # flags, mode; path -> handle; FileStatus
    CLOSE = 4  # handle ->
    READ = 5  # handle, size -> count; data
    WRITE = 6  # handle; data -> count
    READ_AT = 7  # handle, size, offset -> count; data
    WRITE_AT = 8  # handle, offset; data -> count
    STATUS = 9  # follow; path -> ; FileStatus
    HANDLE_STATUS = 10  # handle -> ; FileStatus
    LIST = 11  # handle, position -> number of entries; entries
    ACCESS = 12  # mode; path ->
    READ_LINK = 13  # path -> ; target
    REMOVE = 14  # directory; path ->
    RENAME = 15  # path NUL path ->
    MAKE_DIRECTORY = 16  # mode; path ->
    TRUNCATE = 17  # handle, size ->
    SYNCHRONIZE = 18  # handle ->
    LOCK = 19  # handle, kind | 16 if it may wait, start; length as 8 bytes ->
    CHANGE_MODE = 20  # mode; path ->
    CHANGE_TIMES = 21  # accessed, modified in ns; path ->
    CLOCK = 22  # clock -> nanoseconds
    SLEEP = 23  # nanoseconds -> monotonic nanoseconds afterwards


def _length(data: bytes) -> int:
    if len(data) > LARGEST_DATA:
        raise ValueError(f"{len(data)} bytes of data; a message holds {LARGEST_DATA}")
    return len(data)


class HostCall(Record, size=40):
    """The header of a request; `length` bytes of data follow it."""

    operation: int = u16()
    reserved_2: bytes = reserved(2)
    length: int = u32()
    sequence: int = u64()
    first: int = u64()
    second: int = u64()
    third: int = u64()

    @classmethod
    def message(
        cls, operation: int, sequence: int, numbers: tuple[int, int, int] = (0, 0, 0), data: bytes = b""
    ) -> bytes:
        """A whole request, packed at once: this is done at every system call. ValueError if the data is too long."""
        return cls._struct.pack(operation, bytes(2), _length(data), sequence, *numbers) + data


class HostReply(Record, size=32):
    """The header of an answer; `length` bytes of data follow it."""

    operation: int = u16()
    reserved_2: bytes = reserved(2)
    length: int = u32()
    sequence: int = u64()
    error: int = u32()
    reserved_20: bytes = reserved(4)
    value: int = u64()

    @classmethod
    def message(cls, operation: int, sequence: int, error: int = 0, value: int = 0, data: bytes = b"") -> bytes:
        """A whole answer. ValueError if the data is too long."""
        return cls._struct.pack(operation, bytes(2), _length(data), sequence, error, bytes(4), value) + data


class FileStatus(Record, size=104):
    """What the host says of a file: stat(2)'s fields, times in nanoseconds."""

    device: int = u64()
    inode: int = u64()
    mode: int = u64()
    links: int = u64()
    user: int = u64()
    group: int = u64()
    special_device: int = u64()
    size: int = u64()
    block_size: int = u64()
    blocks: int = u64()
    accessed: int = u64()
    modified: int = u64()
    changed: int = u64()


Header = TypeVar("Header", HostCall, HostReply)


def split(kind: type[Header], message: bytes) -> tuple[Header, bytes]:
    """Header and data of a message. ParseError unless it is exactly one message that fits the bounce buffer."""
    header, data = kind.parse(message[: kind.SIZE]), message[kind.SIZE :]
    if len(data) > LARGEST_DATA:
        raise ParseError(kind.__name__, "data", kind.SIZE, f"{len(data)} bytes; the limit is {LARGEST_DATA}")
    if header.length != len(data):
        raise ParseError(kind.__name__, "length", 4, f"is {header.length}; {len(data)} bytes follow")
    return header, data
