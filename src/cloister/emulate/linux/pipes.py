"""Pipes: a buffer inside the TEE, which the host never sees."""

from typing import Final

from .open_files import OpenFile
from .outcome import Failed

__all__ = ["CAPACITY", "PipeEnd", "pipe"]

EBADF, EAGAIN, EPIPE = 9, 11, 32
CAPACITY: Final = 65536
"""Bytes that a pipe holds (pipe(7))."""


class PipeEnd(OpenFile):
    """One end. Where Linux would wait, the call fails with EAGAIN: with one thread nobody would ever come."""

    def __init__(self, content: bytearray, flags: int) -> None:
        super().__init__(b"/dev/pipe", flags, 0o010600)
        self._content = content
        self.other: PipeEnd | None = None

    def read(self, size: int) -> bytes:
        """What was written; nothing once the other end is closed."""
        if self.flags & 1:
            raise Failed(EBADF)
        if not self._content and self.other is not None and size:
            raise Failed(EAGAIN)
        data = bytes(self._content[:size])
        del self._content[:size]
        return data

    def write(self, data: bytes) -> int:
        """As much as there is room for."""
        if not self.flags & 1:
            raise Failed(EBADF)
        if self.other is None:
            raise Failed(EPIPE)
        room = CAPACITY - len(self._content)
        if not room and data:
            raise Failed(EAGAIN)
        self._content += data[:room]
        return len(data[:room])

    def close(self) -> None:
        """The other end is alone from now on."""
        if self.other is not None:
            self.other.other = None


def pipe(flags: int) -> tuple[PipeEnd, PipeEnd]:
    """Both ends of a new pipe: the one to read, the one to write."""
    content = bytearray()
    reader, writer = PipeEnd(content, flags), PipeEnd(content, flags | 1)
    reader.other, writer.other = writer, reader
    return reader, writer
