"""The bounce buffer: ordinary memory through which a program in a TEE and its host exchange system calls."""

import struct
from collections.abc import Sequence
from typing import Final, Protocol

from cloister.emulate.linux.messages import BOUNCE_BUFFER
from cloister.measure.image import PAGE

__all__ = ["BOUNCE_PAGES", "BounceBuffer"]

LENGTH: Final = struct.Struct("<Q")
BOUNCE_PAGES: Final = BOUNCE_BUFFER // PAGE + 1
"""One page more for the length in front."""


class Frame(Protocol):
    """How a page of ordinary memory is reached: the memoryview of its 4,096 bytes."""

    def __call__(self, page: int, *, write: bool) -> memoryview: ...


class BounceBuffer:
    """One message at a time in some physical pages. Whoever reads it must expect anything."""

    def __init__(self, pages: Sequence[int], frame: Frame) -> None:
        self.pages, self._frame = tuple(pages), frame

    def put(self, message: bytes) -> None:
        """Write a message; what is behind BOUNCE_BUFFER bytes has no room, as `take` then finds."""
        whole, done = LENGTH.pack(len(message)) + message[:BOUNCE_BUFFER], 0
        while done < len(whole):
            page, offset = divmod(done, PAGE)
            part = whole[done : done + PAGE - offset]
            self._frame(self.pages[page], write=True)[offset : offset + len(part)] = part
            done += len(part)

    def take(self) -> bytes:
        """The message that stands there; one that claims to be longer than the buffer is cut."""
        (size,) = LENGTH.unpack(self._part(0, LENGTH.size))
        return self._part(LENGTH.size, min(size, BOUNCE_BUFFER))

    def _part(self, start: int, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            page, offset = divmod(start + len(parts), PAGE)
            parts += self._frame(self.pages[page], write=False)[offset : offset + size - len(parts)]
        return bytes(parts)
