"""What a firmware image says to the hypervisor: where to put what, and where processors start (OVMF's GUIDed tables).

EDK II, OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm and X64/OvmfSevMetadata.asm: a table of entries stands just below
the last 32 bytes of the image and is read backwards; each entry is its data, its length (u16) and its GUID.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from cloister._wire import Record, raw, u32
from cloister.errors import ParseError

__all__ = ["Firmware", "Section", "SectionType", "parse_firmware"]

FOUR_GIB: Final = 1 << 32
PAGE: Final = 4096
LARGEST: Final = 64 << 20
"""Bytes. Firmware images have 2 to 16 MiB."""

BEHIND_TABLE: Final = 32
ENTRY: Final = 18
"""Bytes of a length and a GUID."""

TABLE: Final = uuid.UUID("96b582de-1fb2-45f7-baea-a366c55a082d").bytes_le
HASH_TABLE: Final = uuid.UUID("7255371f-3a3b-4b04-927b-1da6efa8d454").bytes_le
RESET_BLOCK: Final = uuid.UUID("00f771de-1a7e-4fcb-890e-68c77e2fb44e").bytes_le
METADATA: Final = uuid.UUID("dc886566-984a-4798-a75e-5585a7bf67cc").bytes_le
SVSM_INFO: Final = uuid.UUID("a789a612-0597-4c4b-a49f-cbb1fe9d1ddd").bytes_le


class SectionType(IntEnum):
    """What a metadata section is to be filled with."""

    SEC_MEM = 1  # zeros
    SECRETS = 2
    CPUID = 3
    SVSM_CAA = 4  # the calling area of an SVSM; zeros
    KERNEL_HASHES = 0x10


class Section(Record, size=12):
    """A range of guest memory that the hypervisor fills before the guest starts."""

    gpa: int = u32()
    size: int = u32()
    type: int = u32()


class _MetadataHeader(Record, size=16):
    signature: bytes = raw(4, equals=b"ASEV")
    length: int = u32()
    version: int = u32(equals=1)
    count: int = u32()


@dataclass(frozen=True, kw_only=True)
class Firmware:
    """A firmware image, and what its tables say. It is mapped so that it ends at `end` in guest memory."""

    image: bytes = field(repr=False)
    end: int
    sections: tuple[Section, ...]
    entries: Mapping[bytes, bytes] = field(repr=False)
    """Table entries by GUID."""

    @property
    def gpa(self) -> int:
        """Where in guest memory it starts."""
        return self.end - len(self.image)

    @property
    def hash_table_gpa(self) -> int:
        """Where the hashes of kernel, initrd and command line go; 0 if this firmware does not check them."""
        return self._number(HASH_TABLE) if HASH_TABLE in self.entries else 0

    @property
    def reset_eip(self) -> int:
        """Where all processors but the first one start."""
        return self._number(RESET_BLOCK)

    @property
    def svsm_entry(self) -> int:
        """Where a secure VM service module is entered."""
        return self.gpa + self._number(SVSM_INFO)

    def _number(self, guid: bytes) -> int:
        entry = self.entries.get(guid)
        if entry is None or len(entry) < 4:
            name = uuid.UUID(bytes_le=guid)
            raise ParseError("firmware", str(name), len(self.image), "the firmware's table has no such entry")
        return int.from_bytes(entry[:4], "little")


def parse_firmware(image: bytes, *, end: int = FOUR_GIB) -> Firmware:
    """Read a firmware image: whole pages, with or without a table. `end` is where in guest memory it ends."""
    if not image or len(image) % PAGE or len(image) > min(LARGEST, end):
        reason = f"{len(image)} bytes; firmware has whole pages of {PAGE}, at most {min(LARGEST, end)} bytes"
        raise ParseError("firmware", "length", 0, reason)
    entries = _entries(image)
    return Firmware(image=image, end=end, sections=_sections(image, entries), entries=entries)


def _entries(image: bytes) -> dict[bytes, bytes]:
    end = len(image) - BEHIND_TABLE
    length = int.from_bytes(image[end - 18 : end - 16], "little")
    if image[end - 16 : end] != TABLE:
        return {}
    if not ENTRY <= length <= end:
        raise ParseError("firmware", "table length", end - 18, f"is {length}; the image has {end} bytes before its end")
    first, at, found = end - length, end - ENTRY, dict[bytes, bytes]()
    while at - first >= ENTRY:
        size, guid = int.from_bytes(image[at - 18 : at - 16], "little"), image[at - 16 : at]
        if not ENTRY <= size <= at - first:
            raise ParseError(
                "firmware", "entry length", at - 18, f"is {size}; {at - first} bytes of the table are left"
            )
        if guid in found:
            raise ParseError("firmware", "entry", at - 16, f"{uuid.UUID(bytes_le=guid)} stands twice")
        found[guid] = image[at - size : at - ENTRY]
        at -= size
    return found


def _sections(image: bytes, entries: Mapping[bytes, bytes]) -> tuple[Section, ...]:
    entry = entries.get(METADATA)
    if entry is None:
        return ()
    start = len(image) - int.from_bytes(entry[:4], "little")
    if not 0 <= start <= len(image) - _MetadataHeader.SIZE:
        raise ParseError("firmware", "metadata offset", len(image), "points outside the image")
    header = _MetadataHeader.parse(image[start : start + _MetadataHeader.SIZE], base=start)
    at = start + _MetadataHeader.SIZE
    if at + header.count * Section.SIZE > min(start + header.length, len(image)):
        raise ParseError("firmware", "metadata count", start + 12, f"{header.count} sections do not fit into the table")
    offsets = range(at, at + header.count * Section.SIZE, Section.SIZE)
    found = tuple(Section.parse(image[i : i + Section.SIZE], base=i) for i in offsets)
    for i, section in zip(offsets, found, strict=True):
        _check_section(section, i)
    return found


def _check_section(section: Section, offset: int) -> None:
    if section.type not in set(SectionType):
        raise ParseError("Section", "type", offset + 8, f"{section.type} is not known: what is measured is not known")
    if section.gpa % PAGE or section.size % PAGE or section.size > LARGEST:
        raise ParseError("Section", "gpa", offset, "is not a reasonable number of whole pages")
