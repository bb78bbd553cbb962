"""MRTD of a trust domain, computed from its firmware image: which pages the host adds, and which of them it measures.

Intel TDX Virtual Firmware Design Guide, chapter 11 (metadata); tianocore/edk2, OvmfPkg/ResetVector/X64/
OvmfMetadata.asm; confidential-containers/td-shim, doc/tdshim_spec.md. The image says where its sections go. A host
that puts them elsewhere gets another MRTD.

Two orders are in use (Dstack-TEE/dstack, dstack-mr): KVM as it is in Linux, with QEMU from 9.0 on, adds a page and
measures it before it adds the next one; the patches before that added all pages of a section and then measured them.
MRTD covers neither processors nor memory size, nor the attributes, which reports state apart.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag, StrEnum
from typing import Final

from cloister._wire import Record, raw, u32, u64
from cloister.errors import ParseError
from cloister.measure.components import content, hexadecimal
from cloister.measure.ovmf import parse_firmware
from cloister.measure.tdx import CHUNK, TdMeasurement
from cloister.model import Digest

__all__ = ["PageOrder", "TdvfFirmware", "TdvfSection", "parse_tdvf"]

PAGE: Final = 4096
ZEROS: Final = bytes(PAGE)
"""Shared by all pages that the image says nothing about: there may be a million."""

RECORD: Final = "TDX firmware"
METADATA: Final = uuid.UUID("e47a6535-984a-4798-865e-4685a7bf8ec2").bytes_le
"""The entry of OVMF's table that says how far before the image's end the descriptor stands."""

BEFORE_DESCRIPTOR: Final = uuid.UUID("e9eaf9f3-168e-44d5-a8eb-7f4d8738f6ae").bytes_le
LEGACY_POINTER: Final = 0x20
"""Bytes before the image's end where td-shim has the descriptor's offset, without a table."""

ADDRESS_LIMIT: Final = 1 << 51
MOST_SECTIONS: Final = 64
MOST_PAGES: Final = 1 << 20
"""Pages that are added: 4 GiB. Memory that is given later is not in MRTD."""


class SectionKind(IntEnum):
    """What a section is for; nothing of it is measured."""

    BFV = 0  # boot firmware volume: the code
    CFV = 1  # configuration firmware volume: variables
    TD_HOB = 2
    TEMP_MEM = 3
    PERM_MEM = 4
    PAYLOAD = 5
    PAYLOAD_PARAM = 6
    TD_INFO = 7
    TD_PARAMS = 8


class Attribute(IntFlag):
    """What the host does with a section."""

    EXTEND_MR = 1
    PAGE_AUG = 2


class PageOrder(StrEnum):
    """When pages are measured."""

    EACH = "page"
    SECTION = "section"


class _Descriptor(Record, size=16):
    signature: bytes = raw(4, equals=b"TDVF")
    length: int = u32()
    version: int = u32(equals=1)
    count: int = u32()


class TdvfSection(Record, size=32):
    """A range of guest memory, and the bytes of the image that go there."""

    data_offset: int = u32()
    raw_size: int = u32()
    address: int = u64()
    size: int = u64()
    kind: int = u32()
    attributes: int = u32()

    @property
    def measured(self) -> bool:
        """Whether its contents are in MRTD."""
        return bool(self.attributes & Attribute.EXTEND_MR)

    @property
    def added(self) -> bool:
        """Whether its pages are added before the domain runs."""
        return not self.attributes & Attribute.PAGE_AUG


@dataclass(frozen=True, kw_only=True)
class TdvfFirmware:
    """A firmware image for TDX."""

    image: bytes = field(repr=False)
    sections: tuple[TdvfSection, ...]

    def pages(self, section: TdvfSection) -> Iterator[tuple[int, bytes]]:
        """Address and content of a section's pages; zeros behind what is in the image."""
        data = self.image[section.data_offset : section.data_offset + section.raw_size]
        for at in range(0, section.size, PAGE):
            yield section.address + at, data[at : at + PAGE].ljust(PAGE, b"\0") if at < len(data) else ZEROS

    def mrtd(self, order: PageOrder = PageOrder.EACH) -> Digest:
        """MRTD of a domain that is launched with it."""
        running = TdMeasurement()
        for section in self.sections:
            if section.added:
                self._add(running, section, order)
        return running.digest()

    def _add(self, running: TdMeasurement, section: TdvfSection, order: PageOrder) -> None:
        each = order is PageOrder.EACH
        for address in range(section.address, section.address + (0 if each else section.size), PAGE):
            running.page_add(address)
        for address, data in self.pages(section):
            if each:
                running.page_add(address)
            for at in range(0, PAGE if section.measured else 0, CHUNK):
                running.extend(address + at, data[at : at + CHUNK])

    def components(self, order: PageOrder) -> dict[str, str]:
        """The image, and each section that is added."""
        made = {"firmware": content(self.image), "page order": str(order)}
        for number, one in enumerate(self.sections):
            if one.added:
                data = self.image[one.data_offset : one.data_offset + one.raw_size]
                measured = content(data) if one.measured else "not measured"
                place = f"{hexadecimal(one.address)}+{hexadecimal(one.size)}"
                made[f"section {number} {SectionKind(one.kind).name} {place}"] = measured
        return made


def parse_tdvf(image: bytes) -> TdvfFirmware:
    """Read the metadata of a firmware image. ParseError if it has none, or they cannot be followed."""
    start = _descriptor_place(image)
    descriptor = _Descriptor.parse(image[start : start + _Descriptor.SIZE], base=start)
    first = start + _Descriptor.SIZE
    end = first + descriptor.count * TdvfSection.SIZE
    if not 1 <= descriptor.count <= MOST_SECTIONS or end > min(start + descriptor.length, len(image)):
        raise ParseError(RECORD, "number of sections", start + 12, f"{descriptor.count} do not fit into the descriptor")
    places = range(first, end, TdvfSection.SIZE)
    sections = tuple(TdvfSection.parse(image[at : at + TdvfSection.SIZE], base=at) for at in places)
    for at, section in zip(places, sections, strict=True):
        _check(section, at, len(image))
    if sum(one.size for one in sections if one.added) > MOST_PAGES * PAGE:
        raise ParseError(RECORD, "sections", first, f"add more than {MOST_PAGES} pages")
    return TdvfFirmware(image=image, sections=sections)


def _descriptor_place(image: bytes) -> int:
    entry = parse_firmware(image).entries.get(METADATA)
    if entry is not None:
        start = len(image) - int.from_bytes(entry[:4], "little")
    else:
        start = int.from_bytes(image[-LEGACY_POINTER:][:4], "little")
    if not 16 <= start <= len(image) - _Descriptor.SIZE or image[start - 16 : start] != BEFORE_DESCRIPTOR:
        raise ParseError(
            RECORD, "metadata", max(start, 0), "is not where the image says: no firmware for TDX (OVMF has been one "
            "since 2022, td-shim is)",
        )  # fmt: skip
    return start


def _check(section: TdvfSection, at: int, length: int) -> None:
    if section.kind not in set(SectionKind) or section.attributes & ~3:
        raise ParseError(
            RECORD, "section", at + 24, f"type {section.kind}, attributes {section.attributes:#x} are not known: "
            "so is what is measured",
        )  # fmt: skip
    if section.address % PAGE or section.size % PAGE or section.address + section.size > ADDRESS_LIMIT:
        raise ParseError(RECORD, "section", at + 8, "is no range of whole pages of guest memory")
    if section.raw_size > section.size or section.data_offset + section.raw_size > length:
        raise ParseError(
            RECORD, "section", at, f"{section.raw_size} bytes at {section.data_offset} are not in this file, or do not "
            "fit: give the whole image, variables first (cat OVMF_VARS.fd OVMF_CODE.fd)",
        )  # fmt: skip
