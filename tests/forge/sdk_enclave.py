"""An image of Intel's SGX SDK, small: metadata with a patch, a layout with a group, and a TCS."""

import struct

from tests.forge.enclave_elf import PAGE, Image, Part, pattern

EADD, EEXTEND = 1, 2
RW, TCS = 0x203, 0x100
DIRECTORIES = 1872
DATA = 1904

Entry = tuple[int, int, int, int, int, int, int]
"""Kind, attributes, pages, address, content size, content offset, flags; a group has its shape in the same places."""

TEMPLATE = struct.pack("<QQQIIQQQQII", 0, 0, 0x1000, 0, 2, 0x1010, 0, 0x3000, 0x3000, 0xFFFFFFFF, 0xFFFFFFFF)
BLOB = pattern(300, 17)
ENTRIES: tuple[Entry, ...] = (
    (1, EADD, 3, 0x10000, 0, 0, RW),
    (10, 0, 16, 0x13000, 0, 0, 0),
    (7, EADD | EEXTEND, 2, 0x23000, 0xCCCCCCCC, 0, RW),
    (4, EADD | EEXTEND, 1, 0x25000, len(TEMPLATE), 2600, TCS),
    (6, EADD | EEXTEND, 2, 0x26000, 0, 0, RW),
    (5, EADD | EEXTEND, 2, 0x28000, len(BLOB), 2700, RW),
    (0x1009, 4, 2, 0x20000, 0, 0, 0),
)


def sdk_image(
    entries: tuple[Entry, ...] = ENTRIES, *, size: int = 1 << 20, version: int = 3 << 32 | 3, sigstruct: bytes = b"",
    patches: tuple[tuple[int, int, int], ...] = ((0x2010, 2700, 40),),
) -> bytes:  # fmt: skip
    """The file; `patches` are (place in the file, place in the metadata, size)."""
    metadata = bytearray(DATA + 22672)
    metadata[:48] = struct.pack("<QQIIIIIIQ", 0x86A80294635D0E4C, version, 0x6000, 0, 1, 576, 0, 1, size)
    metadata[64 : 64 + len(sigstruct)] = sigstruct
    places = ((1904, b"".join(struct.pack("<QII16x", *one) for one in patches)),
              (2000, b"".join(struct.pack("<HHIQIIQ", *one) for one in entries)))  # fmt: skip
    for number, (place, data) in enumerate(places):
        struct.pack_into("<II", metadata, DIRECTORIES + 8 * number, place, len(data))
        metadata[place : place + len(data)] = data
    metadata[2600 : 2600 + len(TEMPLATE)] = TEMPLATE
    metadata[2700 : 2700 + len(BLOB)] = BLOB
    note = struct.pack("<III", 13, len(metadata), 0) + b"sgx_metadata\0" + bytes(metadata)
    parts = [
        Part(address=0, flags=4, content=pattern(0x400)),
        Part(address=0x1000, flags=5, content=pattern(0x900, 3)),
        Part(address=0x2A80, flags=6, content=pattern(0x200, 5), size=PAGE),
    ]
    return Image(parts=parts, notes={".note.sgxmeta": note}).build()
