"""Enclave images of frameworks, as small as their loaders take them: ELF files with sections and dynamic symbols."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

PAGE = 4096


@dataclass(kw_only=True)
class Part:
    """A segment, and the named sections in it: `sections` are (name, offset in the segment, size, type, alignment)."""

    address: int
    flags: int
    content: bytes
    size: int = 0
    sections: Sequence[tuple[str, int, int, int, int]] = ()


@dataclass(kw_only=True)
class Image:
    """A shared object. `symbols` are (name, address, size, section index, binding); 0 as the index is undefined."""

    parts: Sequence[Part]
    symbols: Sequence[tuple[str, int, int, int, int]] = ()
    relocations: Mapping[str, Sequence[tuple[int, int, int, int]]] = field(default_factory=dict)
    """By section, (offset, symbol, type, addend)."""
    entry: int = 0x1010
    notes: Mapping[str, bytes] = field(default_factory=dict)
    """Sections that are not loaded."""
    headers: Sequence[bytes] = ()
    """More program headers."""
    type: int = 3
    entries: Mapping[str, int] = field(default_factory=lambda: {".dynsym": 24, ".rela.dyn": 24, ".rela.plt": 24})

    def build(self) -> bytes:
        """The file: parts at multiples of a page, congruent with their addresses."""
        file = bytearray(PAGE)
        offsets = []
        for part in self.parts:
            file += bytes(-len(file) % PAGE + part.address % PAGE)
            offsets.append(len(file))
            file += part.content
        sections = [("", 0, 0, 0, 0, 0, 1)]
        for part, offset in zip(self.parts, offsets, strict=True):
            sections += [
                (name, kind, part.address + start, offset + start, size, 0, align)
                for name, start, size, kind, align in part.sections
            ]
        self._append(file, sections)
        names = b"\0" + b"".join(one[0].encode() + b"\0" for one in sections[1:]) + b".shstrtab\0"
        sections.append((".shstrtab", 3, 0, len(file), len(names), 0, 1))
        file += names
        table = len(file)
        for name, kind, address, offset, size, link, align in sections:
            at = names.index(name.encode() + b"\0") if name else 0
            entry = self.entries.get(name, 0)
            file += struct.pack("<IIQQQQIIQQ", at, kind, 0, address, offset, size, link, 0, align, entry)
        loads = [
            struct.pack(
                "<IIQQQQQQ", 1, part.flags, offset, part.address, part.address, len(part.content),
                max(part.size, len(part.content)), PAGE,
            )
            for part, offset in zip(self.parts, offsets, strict=True)
        ]  # fmt: skip
        headers = [*loads, *self.headers]
        file[:64] = struct.pack(
            "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", self.type, 62, 1, self.entry, 64, table, 0, 64, 56,
            len(headers), 64, len(sections), len(sections) - 1,
        )  # fmt: skip
        file[64 : 64 + 56 * len(headers)] = b"".join(headers)
        return bytes(file)

    def _append(self, file: bytearray, sections: list[tuple[str, int, int, int, int, int, int]]) -> None:
        """Symbols, relocations and notes, which here are not loaded."""
        if self.symbols:
            strings = b"\0" + b"".join(one[0].encode() + b"\0" for one in self.symbols)
            sections.append((".dynstr", 3, 0, len(file), len(strings), 0, 1))
            file += strings
            data = bytes(24) + b"".join(
                struct.pack("<IBBHQQ", strings.index(name.encode() + b"\0"), binding << 4, 0, index, value, size)
                for name, value, size, index, binding in self.symbols
            )
            sections.append((".dynsym", 11, 0, len(file), len(data), len(sections) - 1, 8))
            file += data
        for name, entries in self.relocations.items():
            data = b"".join(
                struct.pack("<QQQ", offset, symbol << 32 | kind, addend & (1 << 64) - 1)
                for offset, symbol, kind, addend in entries
            )
            sections.append((name, 4, 0, len(file), len(data), 0, 8))
            file += data
        for name, data in self.notes.items():
            sections.append((name, 7, 0, len(file), len(data), 0, 1))
            file += data


def pattern(size: int, step: int = 7) -> bytes:
    """Bytes that are nowhere the same over a page."""
    return bytes((number * step + number // 251) % 256 for number in range(size))


LOADER = Image(
    parts=[
        Part(address=0, flags=4, content=pattern(0x2E0)),
        Part(address=0x1000, flags=5, content=pattern(0x1234, 3)),
        Part(address=0x4F50, flags=6, content=pattern(0x240, 5), size=0x3070),
    ]
)
"""What stands for Gramine's libpal.so."""


def oe_properties(
    *,
    heap: int = 3,
    stack: int = 2,
    threads: int = 2,
    product: int = 5,
    version: int = 4,
    flags: int = 0,
    attributes: int = 4,
    sigstruct: bytes = bytes(1808),
) -> bytes:
    """The section .oeinfo."""
    head = struct.pack("<IIQQQHHI", 1960, 2, heap, stack, threads, product, version, flags)
    return head + bytes(32) + struct.pack("<QQQ", attributes, 0, 0) + bytes(48) + sigstruct + b"\xec" * 8


RW = 0x3000
INFO = 0x80
"""Where the properties stand in the data segment."""
OE_SYMBOLS = [
    ("_enclave_rva", RW + 0x00, 8, 3, 1), ("_reloc_rva", RW + 0x08, 8, 3, 1), ("_reloc_size", RW + 0x10, 8, 3, 1),
    ("_tdata_rva", RW + 0x18, 8, 3, 1), ("_tdata_size", RW + 0x20, 8, 3, 1), ("_tdata_align", RW + 0x28, 8, 3, 1),
    ("_tbss_size", RW + 0x30, 8, 3, 1), ("_tbss_align", RW + 0x38, 8, 3, 1),
    ("_td_from_tcs_offset", RW + 0x40, 8, 3, 1), ("_module_info", RW + 0xA00, 72, 3, 1),
    ("ert_reserved_tls", 0, 64, 3, 1), ("offered", 0x1100, 8, 2, 1),
    ("wanted", 0, 0, 0, 1), ("perhaps", 0, 0, 0, 2), ("thread_variable", 0x28, 8, 4, 1),
]  # fmt: skip


def oe_image(properties: bytes, *, wants_module: bool = False, needed: bytes = b"") -> Image:
    """An Open Enclave image, or EGo's runtime; with `wants_module` it uses a symbol of a second file."""
    data = bytearray(pattern(0x1800, 11))
    data[INFO : INFO + len(properties)] = properties
    relocations = [(RW + 0x1000, 0, 8, 0x1200), (RW + 0x1008, 12, 1, 0x10), (RW + 0x1010, 15, 18, 0)]
    relocations += [(RW + 0x1018, 13, 6, 0), (RW + 0x1020, 14, 6, 0)] if wants_module else []
    sections = [
        (".oeinfo", INFO, len(properties), 1, 8), (".tdata", 0x900, 0x24, 1, 16), (".tbss", 0x940, 0x1010, 8, 32),
    ]  # fmt: skip
    if needed:
        strings = b"\0" + b"".join(one[0].encode() + b"\0" for one in OE_SYMBOLS)
        data[0x1100:0x1120] = struct.pack("<QQQQ", 1, strings.index(needed + b"\0"), 0, 0)
        sections.append((".dynamic", 0x1100, 0x20, 6, 8))
    return Image(
        parts=[
            Part(address=0, flags=4, content=pattern(0x800), sections=[(".rodata", 0, 0x10, 1, 1)]),
            Part(address=0x1000, flags=5, content=pattern(0x1678, 3), sections=[(".text", 0, 0x20, 1, 16)]),
            Part(address=RW, flags=6, content=bytes(data), size=0x2100, sections=sections),
        ],
        symbols=OE_SYMBOLS,
        relocations={".rela.dyn": relocations, ".rela.plt": [(RW + 0x1028, 12, 7, 0)]},
    )


def payload(properties: bytes, configuration: bytes) -> bytes:
    """A program that EGo signed: its properties, and its configuration behind the file."""
    data = bytearray(pattern(0x1200, 13))
    data[: len(properties)] = properties
    image = Image(
        parts=[
            Part(address=0, flags=5, content=pattern(0x300, 9), sections=[(".text", 0, 0x20, 1, 16)]),
            Part(
                address=0x2000,
                flags=6,
                content=bytes(data),
                sections=[
                    (".oeinfo", 0, 0x810, 1, 8), (".init_array", 0x900, 0x18, 14, 8), (".fini_array", 0x918, 8, 15, 8),
                    (".tdata", 0x940, 0x11, 1, 8), (".tbss", 0x960, 0x10, 8, 8),
                ],
            ),
        ],
        symbols=[("wanted", 0x40, 8, 1, 1), ("offered", 0, 0, 0, 1), ("local", 0x2A00, 8, 2, 1)],
        relocations={".rela.dyn": [(0x2B00, 2, 6, 0), (0x2B08, 3, 1, 4), (0x2B10, 0, 8, 0x30)]},
    )  # fmt: skip
    size = len(image.build())
    data[0x800:0x810] = struct.pack("<QQ", size, len(configuration))
    image.parts[1].content = bytes(data)
    return image.build() + configuration
