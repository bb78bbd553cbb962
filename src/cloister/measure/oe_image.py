"""Open Enclave images as its host library loads them: properties, segments in memory, relocations, patched symbols.

openenclave/openenclave 9497d36: include/openenclave/bits/sgx/sgxproperties.h, host/sgx/{loadelf.c,elf.c}; for images
that run under EGo the patches of edgelesssys/edgelessrt, 3rdparty/openenclave/ert.patch. An image may be two files: the
enclave, and one module that is linked to it while it is loaded (a library, or EGo's payload).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

from cloister._wire import Record, raw, u16, u32, u64
from cloister.errors import ParseError
from cloister.evidence.sigstruct import Sigstruct
from cloister.measure.elf import ElfFile, Relocation, Symbol, parse_elf
from cloister.measure.enclave_build import PAGE

__all__ = ["PROPERTIES", "RECORD", "LoadedImage", "Properties", "merged_relocations"]

RECORD: Final = "Open Enclave image"
PROPERTIES: Final = ".oeinfo"
END_MARKER: Final = 0xECEC_ECEC_ECEC_ECEC
SHARED: Final = 3
"""e_type: ET_DYN."""

DIRECT, GLOB_DAT, JUMP_SLOT, RELATIVE, THREAD = 1, 6, 7, 8, 18
"""R_X86_64_64, _GLOB_DAT, _JUMP_SLOT, _RELATIVE, _TPOFF64: all that the loader takes."""

NEEDED, RPATH, RUNPATH = 1, 15, 29
"""d_tag: DT_NEEDED, DT_RPATH, DT_RUNPATH."""

WORD: Final = (1 << 64) - 1


class Properties(Record, size=1960):
    """oe_sgx_enclave_properties_t, the section .oeinfo. Places are offsets in the image."""

    size: int = u32(equals=1960)
    type: int = u32()
    heap_pages: int = u64()
    stack_pages: int = u64()
    threads: int = u64()
    product_id: int = u16()
    security_version: int = u16()
    flags: int = u32()
    family_id: bytes = raw(16)
    ext_product_id: bytes = raw(16)
    attributes: int = u64()
    xfrm: int = u64()
    start_address: int = u64()
    oeinfo_rva: int = u64()
    oeinfo_size: int = u64()
    reloc_rva: int = u64()
    reloc_size: int = u64()
    heap_rva: int = u64()
    enclave_size: int = u64()
    sigstruct: bytes = raw(Sigstruct.SIZE)
    end_marker: int = u64(equals=END_MARKER)

    def changed(self, **values: int | bytes) -> "Properties":
        """The same with other values."""
        fields = {name: value for name, value in self.fields() if name not in {"size", "end_marker"}}
        return Properties(**fields | values)


@dataclass
class LoadedImage:
    """One file in memory, as far as it is loaded. `relocations` are its own, `base` is where it stands."""

    file: ElfFile
    memory: bytearray
    relocations: list[Relocation]
    base: int = 0

    @classmethod
    def of(cls, data: bytes, *, base: int = 0) -> Self:
        """Load the segments of a library or position-independent program that begins at 0. ParseError."""
        file = parse_elf(data)
        if file.header.type != SHARED or file.segments[0].address:
            raise ParseError(RECORD, "e_type", 16, "is no position-independent image that begins at address 0")
        memory = bytearray(file.span)
        for one in file.segments:
            memory[one.address : one.address + len(one.content)] = one.content
        return cls(file, memory, _relocations(file), base)

    @property
    def size(self) -> int:
        """Bytes, whole pages."""
        return len(self.memory)

    @property
    def info(self) -> int:
        """Where the properties are."""
        found = self.file.sections.get(PROPERTIES)
        if found is None or found.addr + Properties.SIZE > self.size:
            raise ParseError(RECORD, PROPERTIES, 0, "is missing: no image of Open Enclave or EGo, or not signed yet")
        return found.addr

    @property
    def properties(self) -> Properties:
        """The properties as they are in memory now."""
        return Properties.parse(bytes(self.memory[self.info : self.info + Properties.SIZE]), base=self.info)

    def put(self, place: int, data: bytes) -> None:
        """Write into memory. ParseError outside of it."""
        if place + len(data) > self.size:
            raise ParseError(RECORD, "symbol", place, f"{len(data)} bytes are outside the image of {self.size}")
        self.memory[place : place + len(data)] = data

    def patch(self, symbol: str, value: int, *, optional: bool = False) -> None:
        """Write a number where a dynamic symbol stands."""
        found = self.file.symbols.get(symbol)
        if found is not None:
            self.put(found.value, (value & WORD).to_bytes(8, "little"))
        elif not optional:
            raise ParseError(RECORD, "symbols", 0, f"{symbol} is missing, which every enclave of Open Enclave has")

    def thread_size(self, section: str) -> tuple[int, int]:
        """Size and alignment of `.tdata` or `.tbss`; zeros if there is none."""
        found = self.file.sections.get(section)
        return (0, 0) if found is None else (found.size, found.addralign)

    @property
    def thread_bytes(self) -> int:
        """Bytes of thread-local variables, each part rounded up to its alignment."""
        return sum(-(-size // max(align, 1)) * max(align, 1) for size, align in map(self.thread_size, THREAD_SECTIONS))

    @property
    def needed(self) -> str:
        """The one library that it is linked with; empty if there is none. ParseError for what the loader refuses."""
        names = list[int]()
        data = self.file.section(".dynamic")
        for at in range(0, len(data) - 15, 16):
            tag, value = (int.from_bytes(data[at + more : at + more + 8], "little") for more in (0, 8))
            if tag in {RPATH, RUNPATH}:
                raise ParseError(RECORD, ".dynamic", at, "has RPATH or RUNPATH, which Open Enclave refuses")
            names += [value] if tag == NEEDED else []
        if len(names) > 1:
            raise ParseError(RECORD, ".dynamic", 0, f"needs {len(names)} libraries; Open Enclave takes one")
        strings = self.file.section(".dynstr")
        return strings[names[0] :].partition(b"\0")[0].decode("utf-8", "backslashreplace") if names else ""

    def link(self, other: "LoadedImage") -> None:
        """Turn symbolic relocations into relative ones, with definitions from here or from the other file."""
        self.relocations = [_linked(one, self, other) for one in self.relocations]

    def pages(self) -> Iterator[tuple[int, int, bytes]]:
        """Address in the enclave, permissions, content, segment by segment."""
        for segment in self.file.segments:
            if not segment.permissions:
                raise ParseError(RECORD, "segment", segment.offset, "may neither be read nor written nor executed")
            for place in range(segment.first, segment.end, PAGE):
                yield self.base + place, segment.permissions, bytes(self.memory[place : place + PAGE])


THREAD_SECTIONS: Final = (".tdata", ".tbss")


def _relocations(file: ElfFile) -> list[Relocation]:
    """`.rela.dyn` and `.rela.plt`; nothing where the first is empty. Thread-local ones get their symbol's value."""
    made = list[Relocation]()
    if not file.section(".rela.dyn"):
        return made
    for one in (*file.records(".rela.dyn", Relocation), *file.records(".rela.plt", Relocation)):
        if one.type not in {DIRECT, GLOB_DAT, JUMP_SLOT, RELATIVE, THREAD}:
            raise ParseError(RECORD, "relocation", one.offset, f"type {one.type}: Open Enclave refuses it")
        thread = one.type == THREAD
        made.append(_moved(one, addend=_symbol(file, one)[1].value) if thread else one)
    return made


def _symbol(file: ElfFile, one: Relocation) -> tuple[str, Symbol]:
    if one.symbol >= len(file.dynamic_symbols):
        raise ParseError(RECORD, "relocation", one.offset, f"there is no symbol {one.symbol}")
    return file.dynamic_symbols[one.symbol]


def _moved(one: Relocation, **values: int) -> Relocation:
    fields = {"offset": one.offset, "info": one.info, "addend": one.addend} | values
    return Relocation(**{name: value & WORD for name, value in fields.items()})


def _linked(one: Relocation, image: LoadedImage, other: LoadedImage) -> Relocation:
    offset = one.offset + image.base
    if one.type == RELATIVE:
        return _moved(one, offset=offset, addend=one.addend + image.base)
    if one.type == THREAD:
        return _moved(one, offset=offset)
    name, symbol = _symbol(image.file, one)
    info, extra = one.symbol << 32 | RELATIVE, one.addend if one.type == DIRECT else 0
    for place in (image, other):
        found = place.file.symbols.get(name)
        if found is not None and found.shndx:
            return _moved(one, offset=offset, info=info, addend=place.base + found.value + extra)
    if not symbol.weak:
        raise ParseError(RECORD, "symbols", one.offset, f"{name} is defined in neither file: is it the right runtime?")
    return _moved(one, offset=offset, info=info)


def merged_relocations(*images: LoadedImage) -> bytes:
    """The relocations of all files one after the other, filled with zeros to whole pages."""
    data = b"".join(one.serialize() for image in images for one in image.relocations)
    return data.ljust(-(-len(data) // PAGE) * PAGE, b"\0")
