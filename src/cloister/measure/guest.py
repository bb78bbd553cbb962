"""A program as a guest: its image laid into guest-physical memory, behind pages that say what is where.

SEV, SNP, TDX, CCA and Keystone measure pages at physical addresses. Contents alone would leave open at which virtual
address a page stands, what it may be used for and where the program begins: the host could choose, and the measurement
would be the same. So the first pages, from guest-physical address 0, are *boot parameters*; the image's pages follow,
one after the other, in the order of their virtual addresses. The guest builds its mappings from the boot parameters in
its own, measured memory, never from what the host says.

The boot parameters, little-endian (this project's own format, version 1):

    0    StartRecord, 64 bytes: the program as a whole
    64   one word of 64 bits for each page of the image: its virtual address, and in bits 0 to 2 its permission
         (read 1, write 2, execute 4); addresses ascend
         zeros up to the next multiple of 4,096 bytes
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cloister._wire import Record, raw, reserved, u32, u64
from cloister.errors import CannotEnclave, ParseError
from cloister.measure.image import LARGEST, MACHINES, PAGE, Architecture, Image, ImagePage, Permission

__all__ = ["BootParameters", "GuestLayout", "StartRecord", "parameter_pages"]

MAGIC: Final = b"cloister guest\0\0"
VERSION: Final = 1
WORD: Final = 8
PERMISSIONS: Final = 7
ADDRESS_LIMIT: Final = 1 << 47
"""Where the programs' half of a 48-bit address space ends."""

MOST_PAGES: Final = 2 * LARGEST // PAGE
NUMBERS: Final = {architecture: number for number, architecture in MACHINES.items()}


class StartRecord(Record, size=64):
    """What starts: the numbers of `Image`. `machine` is ELF's number, `page_count` counts the pages of the image."""

    magic: bytes = raw(16, equals=MAGIC)
    version: int = u32(equals=VERSION)
    machine: int = u32()
    entry: int = u64()
    headers: int = u64()
    header_count: int = u32()
    page_count: int = u32()
    end: int = u64()
    reserved_56: bytes = reserved(8)

    @classmethod
    def of(cls, image: Image) -> "StartRecord":
        """The record of an image."""
        return cls(
            magic=MAGIC,
            version=VERSION,
            machine=NUMBERS[image.architecture],
            entry=image.entry,
            headers=image.headers,
            header_count=image.header_count,
            page_count=len(image.pages),
            end=image.end,
        )

    @property
    def parameter_pages(self) -> int:
        """How many pages the boot parameters take."""
        return -(-(self.SIZE + WORD * self.page_count) // PAGE)


def parameter_pages(first: bytes) -> int:
    """How many pages the boot parameters take, by the first of them. ParseError if it is none."""
    return _start(first).parameter_pages


def _start(data: bytes) -> StartRecord:
    record, offsets = StartRecord.parse(data[: StartRecord.SIZE]), StartRecord.OFFSETS
    if record.machine not in MACHINES:
        raise ParseError("StartRecord", "machine", offsets["machine"], f"is {record.machine}; known are {[*MACHINES]}")
    if not 1 <= record.page_count <= MOST_PAGES:
        raise ParseError("StartRecord", "page_count", offsets["page_count"], f"is {record.page_count}")
    return record


@dataclass(frozen=True, slots=True)
class BootParameters:
    """The boot parameters: the program as a whole, and (virtual address, permission) of every page of its image."""

    start: StartRecord
    mapping: tuple[tuple[int, Permission], ...]

    @classmethod
    def of(cls, image: Image) -> "BootParameters":
        """The boot parameters of an image."""
        return cls(StartRecord.of(image), tuple((page.address, page.permission) for page in image.pages))

    @classmethod
    def parse(cls, data: bytes) -> "BootParameters":
        """Read boot parameters of exactly these pages. ParseError if anything is not as this module says."""
        start = _start(data)
        size = start.parameter_pages * PAGE
        if len(data) != size:
            raise ParseError("BootParameters", "length", 0, f"{len(data)} bytes; {start.page_count} pages need {size}")
        end = StartRecord.SIZE + WORD * start.page_count
        if any(data[end:]):
            raise ParseError("BootParameters", "padding", end, "bytes behind the last page must be zero")
        words = struct.unpack(f"<{start.page_count}Q", data[StartRecord.SIZE : end])
        _check_words(words)
        return cls(start, tuple((word - word % PAGE, Permission(word % PAGE)) for word in words))

    def serialize(self) -> bytes:
        """The pages: what `parse` reads."""
        words = struct.pack(f"<{len(self.mapping)}Q", *(address | permission for address, permission in self.mapping))
        return (self.start.serialize() + words).ljust(self.start.parameter_pages * PAGE, b"\0")

    @property
    def architecture(self) -> Architecture:
        """The program's instruction set."""
        return MACHINES[self.start.machine]

    @property
    def first(self) -> int:
        """The guest-physical address of the image's first page."""
        return self.start.parameter_pages * PAGE

    def placed(self) -> Iterator[tuple[int, Permission, int]]:
        """Virtual address, permission and guest-physical address of every page of the image."""
        for number, (address, permission) in enumerate(self.mapping):
            yield address, permission, self.first + number * PAGE

    def image(self, contents: Iterable[bytes]) -> Image:
        """The image again, from the contents of its pages in order. ValueError if their number differs."""
        pages = tuple(
            ImagePage(address, permission, content)
            for (address, permission), content in zip(self.mapping, contents, strict=True)
        )
        start = self.start
        return Image(
            architecture=self.architecture,
            entry=start.entry,
            headers=start.headers,
            header_count=start.header_count,
            end=start.end,
            pages=pages,
        )


def _check_words(words: Sequence[int]) -> None:
    """Addresses ascend below the limit, permissions are known and not empty."""
    last = -1
    for number, word in enumerate(words):
        place, address, permission = StartRecord.SIZE + WORD * number, word - word % PAGE, word % PAGE
        if not 1 <= permission <= PERMISSIONS:
            raise ParseError("BootParameters", "permission", place, f"is {permission:#x}; it is one of 1 to 7")
        if not last < address < ADDRESS_LIMIT:
            raise ParseError(
                "BootParameters", "address", place, f"is {address:#x}: must ascend, below {ADDRESS_LIMIT:#x}"
            )
        last = address


@dataclass(frozen=True, slots=True)
class GuestLayout:
    """Guest-physical memory at launch: `parameters` from address 0, then `contents`, the pages of the image."""

    parameters: BootParameters
    contents: tuple[bytes, ...]

    @classmethod
    def of(cls, image: Image) -> "GuestLayout":
        """The layout of an image."""
        return cls(BootParameters.of(image), tuple(page.content for page in image.pages))

    def require(self, architecture: Architecture, machine: str) -> None:
        """CannotEnclave if the program is for another processor than this machine's; `machine` is for the message."""
        if self.parameters.architecture is not architecture:
            raise CannotEnclave(
                f"this program is for {self.parameters.architecture}; {machine} runs {architecture} programs"
            )

    @property
    def pages(self) -> list[tuple[int, bytes]]:
        """All pages, (guest-physical address, content of 4,096 bytes), in the order in which a launch adds them."""
        head = self.parameters.serialize()
        contents = [head[place : place + PAGE] for place in range(0, len(head), PAGE)] + [*self.contents]
        return [(number * PAGE, content) for number, content in enumerate(contents)]

    @property
    def image_places(self) -> list[int]:
        """The guest-physical address of every page of the image, in the order of `Image.pages`."""
        return [place for _, _, place in self.parameters.placed()]

    @property
    def end(self) -> int:
        """The first guest-physical address behind the image: memory from here on is free."""
        return self.parameters.first + len(self.contents) * PAGE
