"""SIGSTRUCT: who signed an SGX enclave, and what was signed (Intel SDM volume 3D, section 38.13, table 38-19).

Not evidence of anything running: it comes with an enclave image, and its MRSIGNER and MRENCLAVE are what quotes are
compared with. 1808 bytes, little-endian, numbers of 3072 bits included.
"""

import hashlib
from datetime import date as calendar_date
from typing import Final

from cloister._wire import Reader, Record, raw, reserved, u16, u32
from cloister.errors import ParseError

__all__ = ["Sigstruct", "looks_like", "of_image", "parse"]

HEADER: Final = bytes.fromhex("06000000e10000000000010000000000")
DEBUG_HEADER: Final = bytes.fromhex("06000000e10000000000010000000080")
"""The header's last bit: signed by a key that only debug enclaves may be signed with."""

HEADER2: Final = bytes.fromhex("01010000600000006000000001000000")
METADATA_SECTION: Final = b".note.sgxmeta"
METADATA_MAGIC: Final = bytes.fromhex("4c0e5d639402a886")
IN_METADATA: Final = 64
"""Bytes of Intel SDK metadata before the SIGSTRUCT: magic, version, sizes, attributes (linux-sgx metadata.h)."""

LARGEST_IMAGE: Final = 1 << 30
SECTION_HEADER: Final = 64
DEBUG_ATTRIBUTE: Final = 2


class Sigstruct(Record, size=1808):
    """A SIGSTRUCT. `date` is BCD, 0xYYYYMMDD; `vendor` 0x8086 is Intel; `swdefined` belongs to the signer."""

    header: bytes = raw(16)
    vendor: int = u32()
    date: int = u32()
    header2: bytes = raw(16, equals=HEADER2)
    swdefined: int = u32()
    reserved_44: bytes = reserved(84)
    modulus: bytes = raw(384)
    exponent: int = u32(equals=3)
    signature: bytes = raw(384)
    miscselect: int = u32()
    miscmask: int = u32()
    reserved_908: bytes = reserved(4)
    isvfamilyid: bytes = raw(16)
    attributes: bytes = raw(16)
    attribute_mask: bytes = raw(16)
    enclave_hash: bytes = raw(32)
    reserved_992: bytes = reserved(16)
    isvextprodid: bytes = raw(16)
    isvprodid: int = u16()
    isvsvn: int = u16()
    reserved_1028: bytes = reserved(12)
    q1: bytes = raw(384)
    q2: bytes = raw(384)

    @property
    def signed(self) -> bytes:
        """The 256 bytes under the signature: the first 128, and 900 to 1027."""
        whole = self.serialize()
        return whole[:128] + whole[900:1028]

    @property
    def mrsigner(self) -> bytes:
        """The signer's identity: SHA-256 of the modulus as it stands."""
        return hashlib.sha256(self.modulus).digest()

    @property
    def debug_signed(self) -> bool:
        """Whether the header says that the key may sign debug enclaves only."""
        return self.header == DEBUG_HEADER

    @property
    def signed_on(self) -> calendar_date:
        """The signing date, as the signer wrote it."""
        return calendar_date.fromisoformat(f"{self.date:08x}")


def looks_like(data: bytes) -> bool:
    """Whether this is a SIGSTRUCT by its size and its two constant headers."""
    return len(data) == Sigstruct.SIZE and data[:16] in {HEADER, DEBUG_HEADER} and data[24:40] == HEADER2


def parse(data: bytes, *, base: int = 0) -> Sigstruct:
    """Read a SIGSTRUCT of exactly these bytes."""
    made = Sigstruct.parse(data, base=base)
    if made.header not in {HEADER, DEBUG_HEADER}:
        raise ParseError("Sigstruct", "header", base, f"is {made.header.hex()}: not the constant of the SDM")
    try:
        _ = made.signed_on
    except ValueError as error:
        raise ParseError("Sigstruct", "date", base + 20, f"is {made.date:#010x}: not a date in BCD") from error
    return made


def of_image(image: bytes) -> Sigstruct:
    """The SIGSTRUCT in an enclave that Intel's SDK signed: in the section .note.sgxmeta of the ELF file."""
    start = metadata_of(image)
    if image[start : start + 8] != METADATA_MAGIC:
        raise ParseError(
            "enclave image", ".note.sgxmeta", start, "does not begin with the magic number of enclave metadata"
        )
    place = start + IN_METADATA
    return parse(image[place : place + Sigstruct.SIZE], base=place)


def metadata_of(image: bytes) -> int:
    """Where the metadata stands: behind the note's head, 12 bytes, and its name, unpadded as the SDK writes it."""
    name = "enclave image"
    if image[:6] != b"\x7fELF\x02\x01" or len(image) > LARGEST_IMAGE:
        raise ParseError(name, "e_ident", 0, "is not a little-endian 64-bit ELF file of at most 1 GiB")
    table, count, names = (int.from_bytes(image[a:b], "little") for a, b in ((40, 48), (60, 62), (62, 64)))
    headers = Reader(image[table : table + count * SECTION_HEADER], name, base=table)
    sections = [headers.take(SECTION_HEADER, "section header") for _ in range(count)]
    if names >= count:
        raise ParseError(name, "e_shstrndx", 62, f"is {names}; there are {count} sections")
    strings = place_of(sections[names])
    for section in sections:
        at = strings + int.from_bytes(section[:4], "little")
        if image[at : at + len(METADATA_SECTION) + 1] == METADATA_SECTION + b"\0":
            start = place_of(section)
            return start + 12 + int.from_bytes(image[start : start + 4], "little")
    raise ParseError(name, "sections", table, "there is no .note.sgxmeta: no enclave of Intel's SDK, or not signed")


def place_of(section: bytes) -> int:
    """A section's offset in the file."""
    return int.from_bytes(section[24:32], "little")
