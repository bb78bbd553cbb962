"""MRENCLAVE of an image of Intel's SGX SDK (Occlum's LibOS is one), computed from the file as its loader builds it.

intel/linux-sgx, common/inc/internal/metadata.h (the note .note.sgxmeta), psw/urts/loader.cpp (the order of pages) and
psw/urts/parser/elfparser.cpp (pages with text relocations are writable). In this order:

    patches        bytes of the metadata over bytes of the file
    segments       PT_LOAD, every page measured, zeros included
    the layout     entries of the metadata: heap (not measured), stacks, guards (nothing), TCS, SSA, thread data; a
                   group repeats the entries before it, further up

The SIGSTRUCT in the metadata is not measured: it says what its author measured, and `signed` is there to compare.
"""

from collections.abc import Callable, Sequence
from typing import Final

from cloister._wire import Record, raw, u16, u32, u64
from cloister.errors import ParseError
from cloister.evidence.sigstruct import Sigstruct, metadata_of
from cloister.evidence.sigstruct import parse as parse_sigstruct
from cloister.measure.components import content
from cloister.measure.elf import ElfFile, Segment, parse_elf
from cloister.measure.enclave_build import MOST_PAGES, PAGE, EnclaveBuild, MeasuredEnclave
from cloister.measure.sgx import SecinfoFlags

__all__ = ["sdk_enclave"]

RECORD: Final = "SDK enclave"
MAGIC: Final = 0x86A80294635D0E4C
DATA_SIZE: Final = 22672
OWN_RULES: Final = {(1, 5): "the SDK's releases 1.5 to 1.8 add a page that others do not"}
"""Versions that are refused: no published image shows their rules."""

FIRST_ELRANGE: Final = 11
"""Major versions from here on have an address range of their own (ELRANGE), which moves every page."""

GROUP: Final = 0x1000
EADD, EEXTEND = 1, 2
MOST_STEPS: Final = 1 << 20
"""Layout entries that are looked at, and repetitions."""

TEXT_RELOCATIONS, PLT_SIZE, TABLE, TABLE_SIZE, PLT = 22, 2, 7, 8, 23
"""d_tag: DT_TEXTREL, DT_PLTRELSZ, DT_RELA, DT_RELASZ, DT_JMPREL."""
DYNAMIC: Final = 2
"""p_type: PT_DYNAMIC."""


class _Directory(Record, size=8):
    offset: int = u32()
    size: int = u32()


class _Metadata(Record, size=1904):
    """metadata_t without the data behind it."""

    magic: int = u64(equals=MAGIC)
    version: int = u64()
    size: int = u32()
    tcs_policy: int = u32()
    ssa_frame_size: int = u32()
    max_save_buffer_size: int = u32()
    desired_misc_select: int = u32()
    tcs_min_pool: int = u32()
    enclave_size: int = u64()
    attributes: bytes = raw(16)
    sigstruct: bytes = raw(Sigstruct.SIZE)
    directories: bytes = raw(32)


class _Patch(Record, size=32):
    target: int = u64()
    source: int = u32()
    size: int = u32()
    rest: bytes = raw(16)


class _Entry(Record, size=32):
    """layout_entry_t. A group (`kind` with bit 12) has the number of its entries where others have `attributes`."""

    kind: int = u16()
    attributes: int = u16()
    pages: int = u32()
    address: int = u64()
    content_size: int = u32()
    content_offset: int = u32()
    flags: int = u64()


def sdk_enclave(
    image: bytes, *, write: Callable[[bytes], object] | None = None, most_pages: int = MOST_PAGES
) -> MeasuredEnclave:
    """Measure an image that `sgx_sign` has given its metadata, signed or not yet. ParseError."""
    start = metadata_of(image)
    metadata = _metadata(image, start)
    data = image[start : start + _Metadata.SIZE + DATA_SIZE]
    patches, entries = _tables(metadata, data, start)
    file = parse_elf(_patched(image, data, patches, start))
    build = EnclaveBuild(
        RECORD, size=metadata.enclave_size, ssa_frame_pages=metadata.ssa_frame_size, write=write, most_pages=most_pages
    )
    writable = _text_relocations(file)
    for segment in file.segments:
        _add_segment(build, segment, writable)
    _Layout(build, data, start).add(entries, 0)
    patched = b"".join(data[one.source : one.source + one.size] for one in patches)
    return MeasuredEnclave(
        mrenclave=build.digest(), size=build.size, pages=build.pages, signed=_signed(metadata, start),
        components=_components(metadata, file, patched, entries),
    )  # fmt: skip


def _metadata(image: bytes, start: int) -> _Metadata:
    found = _Metadata.parse(image[start : start + _Metadata.SIZE], base=start)
    version = found.version >> 32, found.version & 0xFFFF_FFFF
    if why := OWN_RULES.get(version, ""):
        raise ParseError(RECORD, "version", start + 8, f"is {version[0]}.{version[1]}: {why}")
    if version[0] >= FIRST_ELRANGE:
        raise ParseError(
            RECORD, "version", start + 8, f"is {version[0]}.{version[1]}: images with an ELRANGE of their own are not "
            "measured here",
        )  # fmt: skip
    return found


def _tables(metadata: _Metadata, data: bytes, start: int) -> tuple[list[_Patch], list[_Entry]]:
    """What the first two directories point to."""
    places = [_Directory.parse(metadata.directories[at : at + 8]) for at in (0, 8)]
    for number, (one, size) in enumerate(zip(places, (_Patch.SIZE, _Entry.SIZE), strict=True)):
        if one.size % size or one.offset + one.size > len(data):
            raise ParseError(
                RECORD, "directory", start + _Metadata.OFFSETS["directories"] + 8 * number,
                f"{one.size} bytes at {one.offset} are no table of {size} bytes each within the metadata",
            )  # fmt: skip
    patches, layout = ([data[at : at + 32] for at in range(one.offset, one.offset + one.size, 32)] for one in places)
    return [_Patch.parse(one) for one in patches], [_Entry.parse(one) for one in layout]


def _patched(image: bytes, data: bytes, patches: Sequence[_Patch], start: int) -> bytes:
    file = bytearray(image)
    for one in patches:
        if one.source + one.size > len(data) or one.target + one.size > len(image):
            raise ParseError(RECORD, "patch", start, f"{one.size} bytes from {one.source} to {one.target} do not exist")
        file[one.target : one.target + one.size] = data[one.source : one.source + one.size]
    return bytes(file)


def _add_segment(build: EnclaveBuild, segment: Segment, writable: frozenset[int]) -> None:
    flags = SecinfoFlags.REG | segment.permissions
    filled = segment.address + len(segment.content)
    for address, page in segment.pages():
        extra = SecinfoFlags.WRITE if address in writable and address < filled else 0
        build.add(address, flags | extra, page)


def _text_relocations(file: ElfFile) -> frozenset[int]:
    """Pages that relocations write to, if the file says that some are not in writable segments (DT_TEXTREL)."""
    found = next((one for one in file.headers if one.type == DYNAMIC), None)
    if found is None:
        return frozenset()
    data = file.data[found.offset : found.offset + found.filesz]
    words = [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data) - 7, 8)]
    tags = dict(zip(words[::2], words[1::2], strict=False))
    if TEXT_RELOCATIONS not in tags:
        return frozenset()
    pages = set[int]()
    for table, size in ((TABLE, TABLE_SIZE), (PLT, PLT_SIZE)):
        content = _at_address(file, tags.get(table, 0), tags.get(size, 0))
        for at in range(0, len(content), 24):
            target, info = (int.from_bytes(content[at + more : at + more + 8], "little") for more in (0, 8))
            if info & 0xFFFF_FFFF:
                pages |= {target // PAGE * PAGE, (target + 7) // PAGE * PAGE}
    return frozenset(pages)


def _at_address(file: ElfFile, address: int, size: int) -> bytes:
    if not size:
        return b""
    for one in file.segments:
        place = address - one.address
        if place >= 0 and place + size <= len(one.content):
            return one.content[place : place + size]
    raise ParseError(RECORD, "relocations", 0, f"{size} bytes at address {address:#x} are in no segment")


class _Layout:
    """The metadata's layout while its entries are added."""

    def __init__(self, build: EnclaveBuild, data: bytes, start: int) -> None:
        self.build, self.data, self.start, self.steps = build, data, start, 0

    def add(self, entries: Sequence[_Entry], delta: int) -> None:
        """Entries, all moved up by `delta`."""
        for number, one in enumerate(entries):
            self._step()
            if not one.kind & GROUP:
                self._add_entry(one, delta + one.address)
                continue
            if one.attributes > number:
                raise self._error(f"a group repeats {one.attributes} entries, {number} stand before it")
            for time in range(one.pages):
                self._step()  # also where it repeats nothing
                self.add(entries[number - one.attributes : number], one.address * (time + 1))

    def _step(self) -> None:
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise self._error("repeats its entries too often")

    def _add_entry(self, one: _Entry, address: int) -> None:
        if not one.attributes & EADD:
            return
        if one.content_offset:
            self._add_content(one, address)
        elif not one.flags:
            return
        elif one.attributes & EEXTEND:
            self.build.fill(address, one.flags, one.pages, one.content_size.to_bytes(4, "little") * (PAGE // 4))
        else:
            self.build.reserve(address, one.flags, one.pages)

    def _add_content(self, one: _Entry, address: int) -> None:
        """Content from the metadata: a TCS, whose addresses are relative to its own, or data with zeros behind."""
        found = self.data[one.content_offset : one.content_offset + one.content_size]
        if len(found) != one.content_size or one.content_size > one.pages * PAGE:
            raise self._error(f"an entry's {one.content_size} bytes at {one.content_offset} are not in the metadata")
        if one.flags != SecinfoFlags.TCS:
            pages = -(-len(found) // PAGE)
            self.build.add_all(address, one.flags, found)
            self.build.fill(address + pages * PAGE, one.flags, one.pages - pages)
            return
        page = bytearray(found.ljust(PAGE, b"\0"))
        if len(page) != PAGE:
            raise self._error(f"a TCS of {one.content_size} bytes")
        for place in (16, 48, 56):  # OSSA, OFSBASE, OGSBASE
            value = int.from_bytes(page[place : place + 8], "little") + address
            page[place : place + 8] = (value & (1 << 64) - 1).to_bytes(8, "little")
        if one.attributes & EEXTEND:
            self.build.fill(address, one.flags, one.pages, bytes(page))
        else:
            self.build.reserve(address, one.flags, one.pages)

    def _error(self, reason: str) -> ParseError:
        return ParseError(RECORD, "layout", self.start, reason)


def _signed(metadata: _Metadata, start: int) -> Sigstruct | None:
    """The SIGSTRUCT; None before signing, when it is zeros."""
    if not any(metadata.sigstruct):
        return None
    return parse_sigstruct(metadata.sigstruct, base=start + _Metadata.OFFSETS["sigstruct"])


def _components(metadata: _Metadata, file: ElfFile, patched: bytes, entries: Sequence[_Entry]) -> dict[str, str]:
    """Segments by their permissions, so that changed code is told from changed data; and the author's settings."""
    made = {"enclave size": str(metadata.enclave_size), "SSA frame pages": str(metadata.ssa_frame_size)}
    for one in file.segments:
        letters = "".join(letter for bit, letter in ((4, "r"), (2, "w"), (1, "x")) if one.flags & bit)
        made[f"segment {one.address:#x} {letters}"] = content(one.content)
    made["patches"] = content(patched)
    made["layout"] = content(b"".join(one.serialize() for one in entries))
    return made
