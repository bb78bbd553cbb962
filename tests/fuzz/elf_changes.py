"""Changes to ELF files where it matters: headers, segments, interpreters, dynamic sections, and the end."""

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Final

__all__ = ["INTERPRETERS", "Elf", "Segment", "changed"]

PAGE: Final = 4096
LOAD, DYNAMIC, INTERP, NOTE, TLS = 1, 2, 3, 4, 7
GNU_STACK: Final = 0x6474E551
RUNTIME: Final = 0x6F00_0000_0000
"""Where the runtime itself is (runtime/runtime.ld)."""
LIMIT: Final = 1 << 47
WORD: Final = 1 << 64
INTERPRETERS: Final = (
    b"./program", b"./interpreter", b"./missing", b".", b"/dev/zero", b"/dev/null", b"./script", b"./other", b"",
    b"/bin/sh", b"./" * 120 + b"interpreter", b"./" * 200 + b"interpreter", b"/proc/self/exe", b"interpreter/more",
)  # fmt: skip
HEADER: Final = "<16sHHIQQQIHHHHHH"
HEADER_FIELDS: Final = {
    "kind": (16, "H"), "machine": (18, "H"), "version": (20, "I"), "entry": (24, "Q"), "headers": (32, "Q"),
    "sections": (40, "Q"), "flags": (48, "I"), "size": (52, "H"), "header_size": (54, "H"), "count": (56, "H"),
    "class": (4, "B"), "order": (5, "B"), "ident": (6, "B"), "abi": (7, "B"), "magic": (1, "B"),
}  # fmt: skip


@dataclass(kw_only=True)
class Segment:
    """Elf64_Phdr."""

    kind: int
    flags: int
    offset: int
    address: int
    physical: int
    file_size: int
    memory_size: int
    alignment: int

    def bytes(self) -> bytes:
        return struct.pack("<IIQQQQQQ", *(getattr(self, one.name) for one in fields(self)))


@dataclass
class Elf:
    """A file whose segments can be changed; what else it holds stays bytes."""

    data: bytearray
    segments: list[Segment] = field(default_factory=list)
    start: int = 0

    @classmethod
    def of(cls, data: bytes) -> "Elf":
        """Of a file that is whole."""
        start, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
        names = [one.name for one in fields(Segment)]
        records = [struct.unpack_from("<IIQQQQQQ", data, start + 56 * i) for i in range(count)]
        return cls(bytearray(data), [Segment(**dict(zip(names, record, strict=True))) for record in records], start)

    def bytes(self) -> bytes:
        """With the segments back in their place, as many as there is room for."""
        for index, segment in enumerate(self.segments):
            at = self.start + 56 * index
            if at + 56 <= len(self.data):
                self.data[at : at + 56] = segment.bytes()
        return bytes(self.data)

    def of_kind(self, kind: int) -> list[Segment]:
        return [one for one in self.segments if one.kind == kind]


def values(chance: random.Random, elf: Elf, old: int) -> int:
    """Near what was there, near the file's end, near where something ends, or anything."""
    size = len(elf.data)
    edges = (
        0, 1, 7, 0x10, PAGE - 1, PAGE, PAGE + 1, 0x10000, 1 << 20, 1 << 30, 1 << 32, 1 << 46, LIMIT - PAGE, LIMIT,
        1 << 63, WORD - 1, WORD - PAGE, RUNTIME, RUNTIME + PAGE, RUNTIME - PAGE, 0x400000, 0x7FFF_FFFF_F000, size,
        size - 1, size + 1, -size % WORD, size & -PAGE, (size & -PAGE) + PAGE,
    )  # fmt: skip
    return chance.choice((
        chance.choice(edges), (old + chance.choice((1, -1, PAGE, -PAGE, 8, -8, 0x200, 5 * PAGE))) % WORD,
        old ^ 1 << chance.randrange(64), chance.randrange(WORD), chance.randrange(size),
    ))  # fmt: skip


def change_header(elf: Elf, chance: random.Random) -> None:
    offset, code = HEADER_FIELDS[chance.choice([*HEADER_FIELDS])]
    old = struct.unpack_from("<" + code, elf.data, offset)[0]
    new = values(chance, elf, old) if chance.random() < 0.7 else chance.choice((0, 1, 2, 3, 64, 65, 0xFFFF, 56, 62))
    struct.pack_into("<" + code, elf.data, offset, new % (1 << 8 * struct.calcsize(code)))


def change_segment(elf: Elf, chance: random.Random) -> None:
    loads = elf.of_kind(LOAD)
    segment = chance.choice(loads if loads and chance.random() < 0.7 else elf.segments)
    name = chance.choice(("flags", "offset", "address", "file_size", "memory_size", "alignment", "kind"))
    if name == "flags":
        segment.flags = chance.randrange(8)
    elif name == "kind":
        segment.kind = chance.choice((0, LOAD, LOAD, DYNAMIC, INTERP, NOTE, TLS, GNU_STACK, 0x6474E553, 0x60000000))
    else:
        setattr(segment, name, values(chance, elf, getattr(segment, name)))


def change_sizes(elf: Elf, chance: random.Random) -> None:
    """A little, so that it may still run."""
    segment = chance.choice(elf.of_kind(LOAD) or elf.segments)
    more = chance.choice((1, 8, 100, PAGE - 1, PAGE, 3 * PAGE, 1 << 20, 40 << 20))
    match chance.randrange(4):
        case 0:
            segment.memory_size += more
        case 1:
            segment.file_size = max(0, segment.file_size - more)
        case 2:
            segment.memory_size = max(segment.file_size, segment.memory_size - more)
        case _:
            segment.offset, segment.address = segment.offset + PAGE, segment.address + PAGE


def change_order(elf: Elf, chance: random.Random) -> None:
    a, b = chance.randrange(len(elf.segments)), chance.randrange(len(elf.segments))
    match chance.randrange(3):
        case 0:
            elf.segments[a], elf.segments[b] = elf.segments[b], elf.segments[a]
        case 1:
            elf.segments[a] = Segment(**vars(elf.segments[b]))
        case _:
            elf.segments[a].kind = 0


def change_interpreter(elf: Elf, chance: random.Random) -> None:
    """Another name, at the end of the file."""
    spare = elf.of_kind(INTERP) or elf.of_kind(NOTE) or elf.segments[-1:]
    name = chance.choice(INTERPRETERS) + (b"\0" if chance.random() < 0.9 else b"")
    spare[0].kind, spare[0].offset, spare[0].file_size = INTERP, len(elf.data), len(name)
    elf.data += name


def change_end(elf: Elf, chance: random.Random) -> None:
    match chance.randrange(3):
        case 0:
            del elf.data[chance.randrange(len(elf.data)) :]
        case 1:
            del elf.data[max(64, len(elf.data) - chance.randrange(2 * PAGE)) :]
        case _:
            elf.data += bytes(chance.randrange(3 * PAGE))


def change_dynamic(elf: Elf, chance: random.Random) -> None:
    """A tag or a value of what the dynamic loader reads."""
    for segment in elf.of_kind(DYNAMIC):
        at = segment.offset + chance.randrange(max(1, segment.file_size // 8)) * 8
        if at + 8 <= len(elf.data):
            old = struct.unpack_from("<Q", elf.data, at)[0]
            struct.pack_into(
                "<Q", elf.data, at, values(chance, elf, old) if chance.random() < 0.6 else chance.randrange(40)
            )


def change_bytes(elf: Elf, chance: random.Random) -> None:
    """Anywhere behind the headers: code, constants, relocations."""
    for _ in range(chance.choice((1, 1, 3, 20))):
        if len(elf.data) > PAGE:
            elf.data[chance.randrange(400, len(elf.data))] = chance.randrange(256)


def move_whole(elf: Elf, chance: random.Random) -> None:
    """All segments to another place, on the runtime for one. What is relocated would not be right there."""
    loads = elf.of_kind(LOAD)
    if loads and not elf.of_kind(DYNAMIC):
        to = chance.choice((RUNTIME, RUNTIME - PAGE, 0x10000, 0, PAGE, 0x7000_0000_0000, LIMIT - (1 << 20), 0x12345000))
        distance = to - (loads[0].address & -PAGE)
        for segment in elf.segments:
            segment.address = (segment.address + distance) % WORD
        entry = struct.unpack_from("<Q", elf.data, 24)[0]
        struct.pack_into("<Q", elf.data, 24, (entry + distance) % WORD)


CHANGES: Final[tuple[Callable[[Elf, random.Random], None], ...]] = (
    change_header, change_segment, change_segment, change_segment, change_sizes, change_sizes, change_order,
    change_interpreter, change_end, change_dynamic, change_bytes, move_whole,
)  # fmt: skip


def changed(data: bytes, chance: random.Random) -> bytes:
    """The file with one to four changes."""
    elf = Elf.of(data)
    for _ in range(chance.choice((1, 1, 1, 2, 2, 4))):
        if len(elf.data) > 1024:  # the headers are still there
            chance.choice(CHANGES)(elf, chance)
    return elf.bytes()
