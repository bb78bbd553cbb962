"""The ELF structures that a core file consists of, declared once for writing and reading.

Sources: elf(5); System V ABI, chapters 4 and 5; `struct elf_prstatus` and `elf_prpsinfo` in linux/elfcore.h.
64-bit little-endian only, which is all that the software enclave runs on.
"""

import struct
from dataclasses import dataclass

__all__ = [
    "FILE_HEADER",
    "NOTE_ALIGNMENT",
    "PN_XNUM",
    "PROGRAM_HEADER",
    "SECTION_HEADER",
    "FileHeader",
    "NoteType",
    "ProgramHeader",
    "pad",
]

MAGIC = b"\x7fELF"
CLASS_64, DATA_LITTLE, VERSION = 2, 1, 1
ET_CORE = 4
PT_LOAD, PT_NOTE = 1, 4
PF_X, PF_W, PF_R = 1, 2, 4
# e_phnum when there are more program headers than 16 bits hold; the number is then sh_info of section 0.
PN_XNUM = 0xFFFF
NOTE_ALIGNMENT = 4

FILE_HEADER = struct.Struct("<4sBBBB8xHHIQQQIHHHHHH")
PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
NOTE_HEADER = struct.Struct("<III")


class NoteType:
    """Types of the notes named CORE or LINUX (linux/elf.h)."""

    PRSTATUS = 1
    FPREGSET = 2
    PRPSINFO = 3
    AUXV = 6
    FILE = 0x46494C45
    X86_XSTATE = 0x202


@dataclass(frozen=True, kw_only=True)
class FileHeader:
    """The fields of Elf64_Ehdr that matter in a core."""

    type: int
    machine: int
    program_headers_offset: int
    program_headers: int
    section_headers_offset: int
    section_headers: int

    def pack(self) -> bytes:
        """The 64 bytes of the header."""
        return FILE_HEADER.pack(
            MAGIC, CLASS_64, DATA_LITTLE, VERSION, 0, self.type, self.machine, VERSION, 0,
            self.program_headers_offset, self.section_headers_offset, 0, FILE_HEADER.size,
            PROGRAM_HEADER.size, self.program_headers, SECTION_HEADER.size, self.section_headers, 0,
        )  # fmt: skip

    @staticmethod
    def unpack(data: bytes) -> "FileHeader | None":
        """The header in `data`; None when it is not a 64-bit little-endian ELF of the known version."""
        if len(data) < FILE_HEADER.size:
            return None
        fields = FILE_HEADER.unpack(data[: FILE_HEADER.size])
        if fields[:4] != (MAGIC, CLASS_64, DATA_LITTLE, VERSION) or fields[13] != PROGRAM_HEADER.size:
            return None
        return FileHeader(
            type=fields[5],
            machine=fields[6],
            program_headers_offset=fields[9],
            program_headers=fields[14],
            section_headers_offset=fields[10],
            section_headers=fields[16],
        )


@dataclass(frozen=True, kw_only=True)
class ProgramHeader:
    """Elf64_Phdr: `stored` bytes at `offset` in the file stand for `size` bytes at `address` in memory."""

    type: int
    flags: int
    offset: int
    address: int
    stored: int
    size: int
    alignment: int

    def pack(self) -> bytes:
        """The 56 bytes of the header."""
        return PROGRAM_HEADER.pack(
            self.type, self.flags, self.offset, self.address, 0, self.stored, self.size, self.alignment
        )

    @staticmethod
    def unpack(data: bytes) -> "ProgramHeader":
        """The header in `data`, which has its exact size."""
        kind, flags, offset, address, _physical, stored, size, alignment = PROGRAM_HEADER.unpack(data)
        return ProgramHeader(
            type=kind, flags=flags, offset=offset, address=address, stored=stored, size=size, alignment=alignment
        )


def pad(data: bytes, alignment: int) -> bytes:
    """`data` with zeros up to the next multiple of `alignment`."""
    return data + bytes(-len(data) % alignment)
