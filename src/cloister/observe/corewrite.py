"""Writing an ELF core as its memory is read, without knowing beforehand what can be read.

Memory goes straight to the file; the program headers follow it, when it is known which parts were readable. What
was not has a header without content (p_filesz 0): gdb then says that it cannot access it. Zeros become holes of a
sparse file; large stretches that the process never wrote (reserved address space) get no room in it at all.
"""

import os
from dataclasses import dataclass

from cloister.errors import ObservationError
from cloister.observe.elflayout import (
    ET_CORE,
    FILE_HEADER,
    NOTE_ALIGNMENT,
    PF_R,
    PF_W,
    PF_X,
    PN_XNUM,
    PT_LOAD,
    PT_NOTE,
    SECTION_HEADER,
    FileHeader,
    ProgramHeader,
)
from cloister.observe.maps import Mapping
from cloister.observe.memory import Chunk, Piece, Untouched

__all__ = ["CoreWriter"]

MACHINES = {"x86_64": 62, "aarch64": 183, "riscv64": 243}
PAGE = os.sysconf("SC_PAGE_SIZE")
# A longer stretch of never-written memory is left out, so that a reservation of terabytes does not make
# a file of terabytes, which many tools and file systems refuse even when it is sparse.
LONGEST_ZEROS = 64 << 20
ZERO_BLOCK = bytes(1 << 16)


@dataclass(kw_only=True)
class Growing:
    """The segment being written."""

    mapping: Mapping
    address: int
    offset: int
    stored: int


class CoreWriter:
    """Feed it the pieces of a process in address order, then call `finish`. It does not close the descriptor."""

    def __init__(self, descriptor: int, notes: bytes) -> None:
        """Start an empty file with the notes."""
        self.descriptor = descriptor
        note = ProgramHeader(
            type=PT_NOTE,
            flags=0,
            offset=FILE_HEADER.size,
            address=0,
            stored=len(notes),
            size=0,
            alignment=NOTE_ALIGNMENT,
        )
        self.headers = [note]
        self.write(notes, FILE_HEADER.size)
        self.position = round_up(FILE_HEADER.size + len(notes), PAGE)
        self.growing: Growing | None = None

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """All of `data` at `offset`; a full disk and the like raise ObservationError."""
        view = memoryview(data)
        try:
            while view:
                count = os.pwrite(self.descriptor, view, offset)
                view, offset = view[count:], offset + count
        except OSError as error:
            raise ObservationError(f"cannot write the core: {error.strerror}; give --output on another disk") from error

    def feed(self, piece: Piece) -> None:
        """Take the next piece."""
        assert piece.mapping is not None  # noqa: S101  pieces of a process always have one
        stored = isinstance(piece, Chunk) or (isinstance(piece, Untouched) and piece.size <= LONGEST_ZEROS)
        if not stored:
            self.close_segment()
            self.headers.append(header(piece.mapping, piece.address, self.position, 0, piece.end - piece.address))
            return
        segment = self.segment_for(piece.mapping, piece.address)
        if isinstance(piece, Chunk):
            self.write_sparsely(piece.data)
        else:
            self.position += piece.size
        segment.stored += piece.end - piece.address

    def segment_for(self, mapping: Mapping, address: int) -> Growing:
        """The segment that `address` continues, or a new one."""
        now = self.growing
        if now is not None and now.mapping == mapping and now.address + now.stored == address:
            return now
        self.close_segment()
        self.growing = Growing(mapping=mapping, address=address, offset=self.position, stored=0)
        return self.growing

    def write_sparsely(self, data: memoryview) -> None:
        """Write what is not zero."""
        for start in range(0, len(data), len(ZERO_BLOCK)):
            block = data[start : start + len(ZERO_BLOCK)]
            if block != ZERO_BLOCK[: len(block)]:
                self.write(block, self.position)
            self.position += len(block)

    def close_segment(self) -> None:
        """The segment being written is complete."""
        now = self.growing
        if now is not None:
            self.headers.append(header(now.mapping, now.address, now.offset, now.stored, now.stored))
        self.growing = None

    def finish(self) -> None:
        """Write the headers. More of them than 16 bits count are counted in section header 0 (elf(5), e_phnum)."""
        self.close_segment()
        table = b"".join(one.pack() for one in self.headers)
        many = len(self.headers) >= PN_XNUM
        file_header = FileHeader(
            type=ET_CORE,
            machine=MACHINES[os.uname().machine],
            program_headers_offset=self.position,
            program_headers=PN_XNUM if many else len(self.headers),
            section_headers_offset=self.position + len(table) if many else 0,
            section_headers=1 if many else 0,
        )
        sections = SECTION_HEADER.pack(0, 0, 0, 0, 0, 0, 0, len(self.headers), 0, 0) if many else b""
        self.write(table + sections, self.position)
        self.write(file_header.pack(), 0)


def header(mapping: Mapping, address: int, offset: int, stored: int, size: int) -> ProgramHeader:
    """The program header of a piece of a mapping."""
    bits = zip(mapping.permissions, (PF_R, PF_W, PF_X), strict=False)
    flags = sum(bit for letter, bit in bits if letter != "-")
    return ProgramHeader(
        type=PT_LOAD, flags=flags, offset=offset, address=address, stored=stored, size=size, alignment=PAGE
    )


def round_up(value: int, unit: int) -> int:
    """`value`, or the next multiple of `unit`."""
    return value + -value % unit
