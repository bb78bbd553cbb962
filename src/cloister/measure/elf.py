"""ELF files of x86-64 enclaves: headers, segments, sections and dynamic symbols (System V ABI, chapters 4 and 5).

Frameworks measure what their own loaders make of such a file, so this reads it as strictly as those must: a place
outside the file is an error, never an empty answer. Whole programs for the emulated machines are `image`'s.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, TypeVar

from cloister._wire import Record, raw, u8, u16, u32, u64
from cloister.errors import ParseError

__all__ = ["ElfFile", "ElfHeader", "ProgramHeader", "Relocation", "SectionHeader", "Segment", "Symbol", "parse_elf"]

R = TypeVar("R", bound=Record)
PAGE: Final = 4096
RECORD: Final = "enclave image"
LARGEST: Final = 1 << 30
"""Bytes of a file."""

LARGEST_MEMORY: Final = 1 << 30
"""Bytes of address space that segments may span."""

MOST_HEADERS: Final = 4096
EXECUTABLE: Final = 2
SHARED: Final = 3
"""e_type: ET_EXEC and ET_DYN."""

X86_64: Final = 62
LOAD: Final = 1
NO_BITS: Final = 8
"""sh_type: SHT_NOBITS takes no place in the file."""

DYNAMIC_SYMBOLS: Final = ".dynsym"


class ElfHeader(Record, size=64):
    """Elf64_Ehdr."""

    magic: bytes = raw(4, equals=b"\x7fELF")
    elf_class: int = u8()
    encoding: int = u8()
    ident: bytes = raw(10)
    type: int = u16()
    machine: int = u16()
    version: int = u32()
    entry: int = u64()
    phoff: int = u64()
    shoff: int = u64()
    flags: int = u32()
    ehsize: int = u16()
    phentsize: int = u16()
    phnum: int = u16()
    shentsize: int = u16()
    shnum: int = u16()
    shstrndx: int = u16()


class ProgramHeader(Record, size=56):
    """Elf64_Phdr."""

    type: int = u32()
    flags: int = u32()
    offset: int = u64()
    vaddr: int = u64()
    paddr: int = u64()
    filesz: int = u64()
    memsz: int = u64()
    align: int = u64()


class SectionHeader(Record, size=64):
    """Elf64_Shdr."""

    name: int = u32()
    type: int = u32()
    flags: int = u64()
    addr: int = u64()
    offset: int = u64()
    size: int = u64()
    link: int = u32()
    info: int = u32()
    addralign: int = u64()
    entsize: int = u64()


class Symbol(Record, size=24):
    """Elf64_Sym."""

    name: int = u32()
    info: int = u8()
    other: int = u8()
    shndx: int = u16()
    value: int = u64()
    size: int = u64()

    @property
    def weak(self) -> bool:
        """Whether it may stay undefined (STB_WEAK)."""
        return self.info >> 4 == 2


class Relocation(Record, size=24):
    """Elf64_Rela; `addend` as the unsigned number that its bits are."""

    offset: int = u64()
    info: int = u64()
    addend: int = u64()

    @property
    def type(self) -> int:
        """R_X86_64_*."""
        return self.info & 0xFFFF_FFFF

    @property
    def symbol(self) -> int:
        """Index into the dynamic symbols."""
        return self.info >> 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A PT_LOAD segment. `content` are its bytes in the file; up to `size` zeros follow."""

    address: int
    size: int
    offset: int
    flags: int
    content: bytes = field(repr=False)

    @property
    def first(self) -> int:
        """Address of its first page."""
        return self.address // PAGE * PAGE

    @property
    def end(self) -> int:
        """Address behind its last page."""
        return -(-(self.address + self.size) // PAGE) * PAGE

    @property
    def permissions(self) -> int:
        """SECINFO's permissions: PF_R 4, PF_W 2 and PF_X 1 in SECINFO's order."""
        return (self.flags >> 2 & 1) | (self.flags & 2) | (self.flags & 1) << 2

    def pages(self) -> Iterator[tuple[int, bytes]]:
        """Its pages, (address, content), zeros around what is in the file."""
        start = self.first
        for page in range(start, self.end, PAGE):
            begin, end = max(page, self.address), min(page + PAGE, self.address + len(self.content))
            part = self.content[begin - self.address : end - self.address] if begin < end else b""
            yield page, (bytes(begin - page) + part if part else b"").ljust(PAGE, b"\0")


@dataclass(frozen=True, kw_only=True)
class ElfFile:
    """An ELF file. `sections` by name, the first of each."""

    data: bytes = field(repr=False)
    header: ElfHeader
    headers: tuple[ProgramHeader, ...] = field(repr=False)
    segments: tuple[Segment, ...] = field(repr=False)
    sections: Mapping[str, SectionHeader] = field(repr=False)

    @property
    def span(self) -> int:
        """The end of the last segment's last page: what the image takes if it begins at 0."""
        return max((one.end for one in self.segments), default=0)

    def section(self, name: str) -> bytes:
        """A section's content; empty if there is none."""
        found = self.sections.get(name)
        if found is None or found.type == NO_BITS:
            return b""
        return self.data[found.offset : found.offset + found.size]

    def records(self, name: str, kind: type[R]) -> list[R]:
        """A section's content as a table of records."""
        found, content = self.sections.get(name), self.section(name)
        if found is not None and (found.entsize != kind.SIZE or len(content) % kind.SIZE):
            raise ParseError(RECORD, name, found.offset, f"is no table of entries of {kind.SIZE} bytes")
        base = 0 if found is None else found.offset
        places = range(0, len(content), kind.SIZE)
        return [kind.parse(content[at : at + kind.SIZE], base=base + at) for at in places]

    @cached_property
    def dynamic_symbols(self) -> tuple[tuple[str, Symbol], ...]:
        """Names and symbols in the table's order."""
        found = self.sections.get(DYNAMIC_SYMBOLS)
        if found is None:
            return ()
        names = self._section_number(found.link)
        table = self.records(DYNAMIC_SYMBOLS, Symbol)
        return tuple((_text(names, one.name, found.offset), one) for one in table)

    @cached_property
    def symbols(self) -> Mapping[str, Symbol]:
        """Dynamic symbols by name, the first of each."""
        made: dict[str, Symbol] = {}
        for name, symbol in self.dynamic_symbols:
            made.setdefault(name, symbol)
        return made

    def _section_number(self, number: int) -> bytes:
        if number >= self.header.shnum:
            raise ParseError(RECORD, "sh_link", 0, f"is {number}; there are {self.header.shnum} sections")
        return _content(self.data, _table(self.data, self.header)[number])


def parse_elf(data: bytes) -> ElfFile:
    """Read a linked ELF file for x86-64. ParseError."""
    if len(data) > LARGEST:
        raise ParseError(RECORD, "length", 0, f"{len(data)} bytes; at most {LARGEST}")
    header = ElfHeader.parse(data[: ElfHeader.SIZE])
    if (header.elf_class, header.encoding, header.machine) != (2, 1, X86_64) or header.type not in {EXECUTABLE, SHARED}:
        raise ParseError(
            RECORD, "e_ident", 4,
            f"class {header.elf_class}, encoding {header.encoding}, machine {header.machine}, type {header.type}: "
            "enclaves are linked 64-bit little-endian files (2, 1) for x86-64 (62), programs or libraries (2, 3)",
        )  # fmt: skip
    headers = _program_headers(data, header)
    return ElfFile(
        data=data, header=header, headers=headers, segments=_segments(data, headers), sections=_sections(data, header)
    )


def _program_headers(data: bytes, header: ElfHeader) -> tuple[ProgramHeader, ...]:
    _check_table(data, header.phoff, header.phnum, header.phentsize, ProgramHeader.SIZE, "program headers")
    places = range(header.phoff, header.phoff + header.phnum * ProgramHeader.SIZE, ProgramHeader.SIZE)
    return tuple(ProgramHeader.parse(data[at : at + ProgramHeader.SIZE], base=at) for at in places)


def _segments(data: bytes, headers: tuple[ProgramHeader, ...]) -> tuple[Segment, ...]:
    found = tuple(
        Segment(
            address=one.vaddr, size=one.memsz, offset=one.offset, flags=one.flags,
            content=data[one.offset : one.offset + one.filesz],
        )
        for one in headers if one.type == LOAD
    )  # fmt: skip
    last = -1
    for one, header in zip(found, (one for one in headers if one.type == LOAD), strict=True):
        if header.offset + header.filesz > len(data) or header.filesz > header.memsz:
            raise ParseError(RECORD, "segment", header.offset, f"{header.filesz} bytes of {header.memsz} are not there")
        if one.first < last or one.end > LARGEST_MEMORY:
            raise ParseError(
                RECORD, "p_vaddr", header.offset, f"{one.address:#x}: shares pages with the one before, or is too large"
            )
        last = one.end
    if not found:
        raise ParseError(RECORD, "program headers", 0, "there is nothing to load")
    return found


def _table(data: bytes, header: ElfHeader) -> list[SectionHeader]:
    if not header.shnum:
        return []
    _check_table(data, header.shoff, header.shnum, header.shentsize, SectionHeader.SIZE, "section headers")
    places = range(header.shoff, header.shoff + header.shnum * SectionHeader.SIZE, SectionHeader.SIZE)
    return [SectionHeader.parse(data[at : at + SectionHeader.SIZE], base=at) for at in places]


def _sections(data: bytes, header: ElfHeader) -> dict[str, SectionHeader]:
    table = _table(data, header)
    if not table:
        return {}
    if header.shstrndx >= len(table):
        raise ParseError(RECORD, "e_shstrndx", 62, f"is {header.shstrndx}; there are {len(table)} sections")
    names, made = _content(data, table[header.shstrndx]), dict[str, SectionHeader]()
    for one in table:
        _content(data, one)
        made.setdefault(_text(names, one.name, header.shoff), one)
    return made


def _content(data: bytes, section: SectionHeader) -> bytes:
    if section.type == NO_BITS:
        return b""
    if section.offset + section.size > len(data):
        raise ParseError(RECORD, "sh_offset", section.offset, f"a section of {section.size} bytes is not in the file")
    return data[section.offset : section.offset + section.size]


def _check_table(data: bytes, offset: int, count: int, size: int, expected: int, what: str) -> None:
    if size != expected or count > MOST_HEADERS or offset + count * size > len(data):
        raise ParseError(
            RECORD, what, offset, f"{count} of {size} bytes: at most {MOST_HEADERS} of {expected}, within the file"
        )


def _text(names: bytes, at: int, offset: int) -> str:
    end = names.find(b"\0", at)
    if at > len(names) or end < 0:
        if at == 0:
            return ""
        raise ParseError(RECORD, "name", offset, f"begins at {at} of {len(names)} bytes, or has no end")
    return names[at:end].decode("utf-8", "backslashreplace")
