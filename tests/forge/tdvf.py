"""Firmware images for TDX, a kernel with a setup header and EFI stub, and a second implementation of MRTD."""

import hashlib
import struct
import uuid
from collections.abc import Mapping, Sequence

PAGE = 4096
BEFORE = uuid.UUID("e9eaf9f3-168e-44d5-a8eb-7f4d8738f6ae").bytes_le
TABLE = uuid.UUID("96b582de-1fb2-45f7-baea-a366c55a082d").bytes_le
METADATA = uuid.UUID("e47a6535-984a-4798-865e-4685a7bf8ec2").bytes_le

Section = tuple[int, int, int, int, int, int]
"""Data offset, raw size, address, size, type, attributes."""

SECTIONS: Sequence[Section] = (
    (0x1000, 0x3000, 0xFFFFD000, 0x3000, 0, 1),
    (0, 0x1000, 0xFFFFC000, 0x1000, 1, 0),
    (0, 0, 0x809000, 0x2000, 2, 0),
    (0, 0, 0x810000, 0x3000, 3, 0),
    (0, 0, 0x100000, 0x10000, 4, 2),
    (0x1100, 0x234, 0x2000000, 0x2000, 5, 1),
)


def tdvf(
    sections: Sequence[Section] = SECTIONS, changes: Mapping[str, int] | None = None, *, table: bool = True
) -> bytes:
    """An image of four pages; with `table` the descriptor is found as in OVMF, else as in td-shim."""
    image = bytearray(bytes((number * 7 + number // 253) % 256 for number in range(4 * PAGE)))
    place = 0x3800
    given = {"length": 16 + 32 * len(sections), "version": 1, "count": len(sections)} | dict(changes or {})
    blob = struct.pack("<4sIII", b"TDVF", given["length"], given["version"], given["count"])
    blob += b"".join(struct.pack("<IIQQII", *one) for one in sections)
    image[place - 16 : place + len(blob)] = BEFORE + blob
    size = len(image)
    image[size - 0x40 :] = bytes(0x40)
    if table:
        entry = struct.pack("<IH", size - place, 22) + METADATA
        whole = entry + struct.pack("<H", len(entry) + 18) + TABLE
        image[size - 32 - len(whole) : size - 32] = whole
    else:
        image[size - 0x20 : size - 0x1C] = struct.pack("<I", place)
    return bytes(image)


def mrtd(image: bytes, sections: Sequence[Section] = SECTIONS, *, each: bool = True) -> str:
    """MRTD, by the letter of the TDX module's specification."""
    hashed = hashlib.sha384()
    for offset, raw, address, size, _, attributes in sections:
        if attributes & 2:
            continue
        data = image[offset : offset + raw].ljust(size, b"\0")
        adds = [struct.pack("<16sQ104x", b"MEM.PAGE.ADD", address + at) for at in range(0, size, PAGE)]
        extends = [
            b"".join(
                struct.pack("<16sQ104x", b"MR.EXTEND", address + at + chunk) + data[at + chunk : at + chunk + 256]
                for chunk in range(0, PAGE, 256)
            )
            if attributes & 1
            else b""
            for at in range(0, size, PAGE)
        ]
        pairs = zip(adds, extends, strict=True)
        hashed.update(b"".join(a + e for a, e in pairs) if each else b"".join(adds) + b"".join(extends))
    return hashed.hexdigest()


def kernel(*, protocol: int = 0x20F, certificate: bytes = b"") -> bytes:
    """A Linux kernel's beginning: MZ, setup header, PE headers; with `certificate` as its signature."""
    image = bytearray((number * 5) % 256 for number in range(0x1000))
    image[:2], image[0x3C:0x40] = b"MZ", struct.pack("<I", 0x400)
    image[0x202:0x208] = b"HdrS" + struct.pack("<H", protocol)
    image[0x211] = 1
    image[0x400:0x404] = b"PE\0\0"
    image[0x418:0x41A] = struct.pack("<H", 0x20B)
    image[0x418 + 108 : 0x418 + 112] = struct.pack("<I", 6)
    image[0x418 + 112 + 32 : 0x418 + 112 + 40] = struct.pack("<II", 0x1000 if certificate else 0, len(certificate))
    return bytes(image) + certificate
