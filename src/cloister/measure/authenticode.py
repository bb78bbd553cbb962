"""The hash by which firmware measures a program for UEFI, such as a Linux kernel: of the file, without its signature.

Microsoft, Windows Authenticode Portable Executable Signature Format, "Calculating the PE image hash": everything but
the checksum, the directory entry of the certificate table, and that table at the end of the file.
"""

import hashlib
from typing import Final

from cloister._wire import Reader
from cloister.errors import ParseError

__all__ = ["authenticode"]

RECORD: Final = "PE image"
PE_OFFSET: Final = 0x3C
COFF: Final = 24
"""Bytes of the PE signature and the COFF header."""

OPTIONAL: Final = {0x10B: 92, 0x20B: 108}
"""Magic number of the optional header (32 and 64 bits) to where it says how many directory entries follow."""

CHECKSUM: Final = 64
"""Where the checksum stands in either header."""
CERTIFICATES: Final = 4
"""Number of the directory entry."""
LARGEST: Final = 1 << 30


def authenticode(image: bytes, algorithm: str = "sha384") -> bytes:
    """The hash of a PE image. ParseError if it is none."""
    if image[:2] != b"MZ" or len(image) > LARGEST:
        raise ParseError(RECORD, "magic", 0, "is not MZ: no program for UEFI; a kernel needs its EFI stub")
    start = Reader(image[PE_OFFSET : PE_OFFSET + 4], RECORD, base=PE_OFFSET).u32("offset of the header")
    header = start + COFF
    if image[start : start + 4] != b"PE\0\0" or header + max(OPTIONAL.values()) + 4 > len(image):
        raise ParseError(RECORD, "signature", start, "is not PE: no program for UEFI; a kernel needs its EFI stub")
    count_at = OPTIONAL.get(int.from_bytes(image[header : header + 2], "little"), 0)
    if not count_at:
        raise ParseError(RECORD, "optional header", header, "has an unknown magic number")
    entry = header + count_at + 4 + 8 * CERTIFICATES
    count = int.from_bytes(image[header + count_at : header + count_at + 4], "little")
    end, entry_size = len(image), 0
    if count > CERTIFICATES and entry + 8 <= len(image):
        place, size = (int.from_bytes(image[at : at + 4], "little") for at in (entry, entry + 4))
        entry_size = 8
        if size:
            if place < entry + 8 or place + size != len(image):
                raise ParseError(RECORD, "certificate table", entry, "does not stand at the end of the file")
            end = place
    digest = hashlib.new(algorithm)
    digest.update(image[: header + CHECKSUM])
    digest.update(image[header + CHECKSUM + 4 : entry])
    digest.update(image[entry + entry_size : end])
    return digest.digest()
