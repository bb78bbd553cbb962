"""Reading an ELF core: which part of the file is which memory. Strict: an offset outside the file is an error."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cloister.errors import ObservationError
from cloister.observe.elflayout import (
    ET_CORE,
    FILE_HEADER,
    NOTE_ALIGNMENT,
    NOTE_HEADER,
    PF_R,
    PF_W,
    PF_X,
    PN_XNUM,
    PROGRAM_HEADER,
    PT_LOAD,
    PT_NOTE,
    SECTION_HEADER,
    FileHeader,
    NoteType,
    ProgramHeader,
)
from cloister.observe.maps import Mapping

__all__ = ["Core", "Segment", "read_core"]

# Field offsets in struct elf_prpsinfo of 64-bit machines (linux/elfcore.h).
PRPSINFO_PID = struct.Struct("<24xi")
PRPSINFO_NAME = slice(40, 56)
LARGEST_NOTES = 1 << 28


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Memory `mapping`, of which the first `stored` bytes stand at `offset` in the file."""

    mapping: Mapping
    offset: int
    stored: int


@dataclass(frozen=True, kw_only=True)
class Core:
    """A core file: its memory in address order, and the process it was. pid 0 and name `?` when it does not say."""

    segments: tuple[Segment, ...]
    pid: int
    program: str

    def outside(self, file_size: int) -> Iterator[tuple[int, int]]:
        """The ranges of the file that are no memory: headers, notes (which hold registers), padding."""
        reached = 0
        for segment in sorted(self.segments, key=lambda segment: segment.offset):
            if segment.stored and segment.offset > reached:
                yield reached, segment.offset
            reached = max(reached, segment.offset + segment.stored) if segment.stored else reached
        if reached < file_size:
            yield reached, file_size


def read_core(descriptor: int, path: Path) -> Core | None:
    """The core in an open file; None when it is something else. Raises ObservationError when it is damaged."""
    with open(descriptor, "rb", closefd=False) as file:
        file.seek(0)
        header = FileHeader.unpack(file.read(FILE_HEADER.size))
        if header is None or header.type != ET_CORE:
            return None
        segments = list(program_headers(file, header, path))
        notes = [note for segment in segments if segment.type == PT_NOTE for note in read_notes(file, segment, path)]
    files = [mapping for kind, data in notes if kind == NoteType.FILE for mapping in parse_file_note(data, path)]
    pid, program = next((parse_identity(data) for kind, data in notes if kind == NoteType.PRPSINFO), (0, "?"))
    loads = sorted((segment for segment in segments if segment.type == PT_LOAD), key=lambda segment: segment.address)
    return Core(segments=tuple(attribute(loads, files)), pid=pid, program=program)


def program_headers(file: BinaryIO, header: FileHeader, path: Path) -> Iterator[ProgramHeader]:
    """All program headers."""
    count = header.program_headers
    if count == PN_XNUM:
        file.seek(header.section_headers_offset)
        count = SECTION_HEADER.unpack(exactly(file, SECTION_HEADER.size, path))[7]
    file.seek(header.program_headers_offset)
    for _ in range(count):
        yield ProgramHeader.unpack(exactly(file, PROGRAM_HEADER.size, path))


def exactly(file: BinaryIO, size: int, path: Path) -> bytes:
    """The next `size` bytes."""
    data = file.read(size)
    if len(data) != size:
        raise ObservationError(f"{path} is a damaged ELF core: it ends inside its headers; dump the process again")
    return data


def read_notes(file: BinaryIO, segment: ProgramHeader, path: Path) -> Iterator[tuple[int, bytes]]:
    """The notes of a PT_NOTE segment as (type, content)."""
    if segment.stored > LARGEST_NOTES:
        raise ObservationError(f"{path} is a damaged ELF core: {segment.stored} bytes of notes; dump the process again")
    file.seek(segment.offset)
    data = exactly(file, segment.stored, path)
    position = 0
    while position + NOTE_HEADER.size <= len(data):
        name_size, size, kind = NOTE_HEADER.unpack_from(data, position)
        start = position + NOTE_HEADER.size + aligned(name_size)
        if start + size > len(data):
            raise ObservationError(f"{path} is a damaged ELF core: a note is cut off; dump the process again")
        yield kind, data[start : start + size]
        position = start + aligned(size)


def aligned(size: int) -> int:
    """`size` rounded up to the alignment of notes."""
    return size + -size % NOTE_ALIGNMENT


def parse_identity(data: bytes) -> tuple[int, str]:
    """Pid and program name of an NT_PRPSINFO note."""
    if len(data) < PRPSINFO_NAME.stop:
        return 0, "?"
    name = data[PRPSINFO_NAME].split(b"\0")[0]
    return int(PRPSINFO_PID.unpack_from(data)[0]), name.decode("utf-8", "surrogateescape")


def parse_file_note(data: bytes, path: Path) -> Iterator[Mapping]:
    """The file mappings of an NT_FILE note: count, page size, (start, end, offset in pages) each, then the names."""
    try:
        count, page = struct.unpack_from("<QQ", data)
        names = data[16 + 24 * count :].split(b"\0")
        for index in range(count):
            start, end, offset = struct.unpack_from("<QQQ", data, 16 + 24 * index)
            name = names[index].decode("utf-8", "surrogateescape")
            yield Mapping(start=start, end=end, permissions="---p", offset=offset * page, path=name)
    except (struct.error, IndexError) as error:
        raise ObservationError(f"{path} is a damaged ELF core: its file note is cut; dump the process again") from error


def attribute(loads: list[ProgramHeader], files: list[Mapping]) -> Iterator[Segment]:
    """The memory segments with the file each belongs to. Both lists are in address order."""
    waiting = iter(files)
    file = next(waiting, None)
    for load in loads:
        while file and file.end <= load.address:
            file = next(waiting, None)
        inside = file if file and file.start <= load.address else None
        mapping = Mapping(
            start=load.address,
            end=load.address + load.size,
            permissions=permissions(load.flags),
            offset=inside.offset + load.address - inside.start if inside else 0,
            path=inside.path if inside else "",
        )
        yield Segment(mapping=mapping, offset=load.offset, stored=load.stored)


def permissions(flags: int) -> str:
    """Segment flags as in /proc/PID/maps. A core does not tell shared from private."""
    return "".join(letter if flags & bit else "-" for letter, bit in (("r", PF_R), ("w", PF_W), ("x", PF_X))) + "p"
