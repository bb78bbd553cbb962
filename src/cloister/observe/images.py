"""Files as places to search: a plain file is one part, an ELF core its memory by address and the rest by offset."""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cloister.errors import ObservationError
from cloister.observe.coreread import Core, Segment, read_core
from cloister.observe.findings import Reason
from cloister.observe.maps import Mapping
from cloister.observe.memory import CHUNK_BYTES, Chunk, Hole, Piece, Untouched
from cloister.observe.tally import Place

__all__ = ["Image", "open_image", "read_file_range"]


@dataclass(frozen=True, kw_only=True)
class Image:
    """An open file to search. `core` is None when it is not an ELF core."""

    descriptor: int
    path: Path
    size: int
    core: Core | None

    def __enter__(self) -> Self:
        """Nothing to do: it is open."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the file."""
        os.close(self.descriptor)

    def parts(self) -> Iterator[tuple[Place, Iterator[Piece]]]:
        """Each place in the file with its pieces; every byte of the file is in exactly one."""
        if self.core is None:
            yield Place(where=str(self.path), owner=""), self.range_pieces(0, self.size)
            return
        owner = f"{self.core.program} ({self.core.pid}) in {self.path}"
        yield Place(where="memory", owner=owner, pid=self.core.pid), self.memory_pieces(self.core)
        rest = Place(where="headers and notes", owner=owner, pid=self.core.pid)
        for start, end in self.core.outside(self.size):
            yield rest, self.range_pieces(start, end)

    def memory_pieces(self, core: Core) -> Iterator[Piece]:
        """The memory of a core in address order; what the core does not store is a hole."""
        for segment in core.segments:
            stored = min(segment.stored, max(0, self.size - segment.offset))
            yield from self.range_pieces(segment.offset, segment.offset + stored, segment)
            if stored < segment.mapping.size:
                address = segment.mapping.start + stored
                size = segment.mapping.size - stored
                reason = Reason.RESERVED if segment.mapping.reserved else Reason.NOT_DUMPED
                yield Hole(address=address, size=size, mapping=segment.mapping, reason=reason)

    def range_pieces(self, start: int, end: int, segment: Segment | None = None) -> Iterator[Piece]:
        """The bytes [start, end) of the file, addressed by offset, or by memory address inside a `segment`."""
        shift = segment.mapping.start - segment.offset if segment else 0
        return read_file_range(self.descriptor, start, end, shift, segment.mapping if segment else None)


def read_file_range(
    descriptor: int, start: int, end: int, shift: int = 0, mapping: Mapping | None = None
) -> Iterator[Piece]:
    """The bytes [start, end) of an open file as pieces, with `shift` added to their offsets.

    Holes of a sparse file are `Untouched`. A file that became shorter ends early; a read error raises OSError.
    """
    buffer = memoryview(bytearray(CHUNK_BYTES))
    position = start
    while position < end:
        data = min(next_data(descriptor, position, end), end)
        if data > position:
            yield Untouched(address=position + shift, size=data - position, mapping=mapping)
            position = data
            continue
        count = os.preadv(descriptor, [buffer[: end - position]], position)
        if count == 0:
            return
        yield Chunk(address=position + shift, data=buffer[:count], mapping=mapping)
        position += count


def next_data(descriptor: int, position: int, end: int) -> int:
    """The first offset from `position` on that a sparse file stores; lseek(2), SEEK_DATA."""
    try:
        return os.lseek(descriptor, position, os.SEEK_DATA)
    except OSError as error:
        # ENXIO: only a hole is left. Otherwise this kind of file cannot tell: read everything.
        return end if error.errno == errno.ENXIO else position


def open_image(path: Path) -> Image:
    """Open `path` for searching; raises ObservationError when that cannot be done."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ObservationError(f"cannot open {path}: {error.strerror}; give a readable file or a process id") from error
    try:
        return describe(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise


def describe(descriptor: int, path: Path) -> Image:
    """The image behind an open descriptor."""
    mode = os.fstat(descriptor).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        raise ObservationError(f"{path} is not a regular file or block device; give a core, a dump or another file")
    size = os.lseek(descriptor, 0, os.SEEK_END)
    return Image(descriptor=descriptor, path=path, size=size, core=read_core(descriptor, path))
