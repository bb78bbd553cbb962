"""Small ELF files of every shape: what real linkers never make, too."""

import struct

from cloister.measure.image import PAGE

CODE, DATA = 0x400000, 0x402F00


def segment(
    vaddr: int, *, flags: int, offset: int = 0, filesz: int = 0x100, memsz: int | None = None, kind: int = 1
) -> bytes:
    """A program header."""
    return struct.pack("<IIQQQQQQ", kind, flags, offset, vaddr, vaddr, filesz, filesz if memsz is None else memsz, PAGE)


TEXT = segment(CODE, flags=5, filesz=0x1000)
VARIABLES = segment(DATA, flags=6, offset=0xF00, filesz=0x200, memsz=0x3000)


def elf(*segments: bytes, **changes: object) -> bytes:
    """A file of 0x1200 bytes: file header, program headers, then bytes 1, 2, 3, ..."""
    given = {
        "ident": b"\x7fELF\x02\x01\x01", "type": 2, "machine": 62, "version": 1, "entry": CODE + 0x200, "phoff": 64,
        "shoff": 0, "flags": 0, "ehsize": 64, "phentsize": 56, "phnum": len(segments), "shentsize": 0, "shnum": 0,
        "shstrndx": 0,
    } | changes  # fmt: skip
    head = struct.pack("<16sHHIQQQIHHHHHH", *given.values()) + b"".join(segments)
    return head + bytes(place % 251 for place in range(len(head), 0x1200))
