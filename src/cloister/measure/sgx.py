"""MRENCLAVE, as the processor makes it (Intel SDM volume 3D, chapters 38 and 40: ECREATE, EADD, EEXTEND, EINIT).

A SHA-256 over blocks of 64 bytes: one for the enclave, one for every page that is added, and five for every 256 bytes
that are measured of a page. Addresses are relative to the enclave's base, which is not measured itself; neither are
the attributes, which reports state and SIGSTRUCT demands.

    running = EnclaveMeasurement.ecreate(ssa_frame_pages=1, size=0x2000)
    running.eadd(0, SecinfoFlags.REG | SecinfoFlags.READ)
    running.eextend(0, chunk)
    running.digest()
"""

import hashlib
import struct
from collections.abc import Callable
from enum import IntFlag
from typing import Final

from cloister._wire import Record, raw, reserved, u32, u64
from cloister.model import Digest

__all__ = ["CHUNK", "AddBlock", "CreateBlock", "EnclaveMeasurement", "ExtendBlock", "SecinfoFlags"]

PAGE: Final = 4096
CHUNK: Final = 256
"""Bytes that one EEXTEND measures."""

SMALLEST: Final = 2 * PAGE
LARGEST: Final = 1 << 56
"""ECREATE takes what CPUID 12H announces; no program's half of an address space is larger than this."""


ADD: Final = struct.Struct("<8sQQ40x")
EXTEND: Final = struct.Struct("<8sQ48x")
"""An AddBlock and an ExtendBlock, for pages by the million."""

MANY: Final = 4096
"""Blocks that are hashed in one call."""


class SecinfoFlags(IntFlag):
    """SECINFO.FLAGS (SDM volume 3D, section 38.11): permissions in bits 0 to 2, the page's type in bits 8 to 15."""

    READ = 1
    WRITE = 2
    EXECUTE = 4
    PENDING = 8
    MODIFIED = 0x10
    RESTRICTED = 0x20  # PR: permissions are being restricted
    TCS = 0x100  # PT_TCS, 1
    REG = 0x200  # PT_REG, 2


class CreateBlock(Record, size=64):
    """What ECREATE measures."""

    name: bytes = raw(8, equals=b"ECREATE\0")
    ssa_frame_pages: int = u32()
    size: int = u64()
    reserved_20: bytes = reserved(44)


class AddBlock(Record, size=64):
    """What EADD measures: the first 48 bytes of SECINFO, of which only the flags may differ from zero."""

    name: bytes = raw(8, equals=b"EADD\0\0\0\0")
    offset: int = u64()
    flags: int = u64()
    reserved_24: bytes = reserved(40)


class ExtendBlock(Record, size=64):
    """What EEXTEND measures before the data."""

    name: bytes = raw(8, equals=b"EEXTEND\0")
    offset: int = u64()
    reserved_16: bytes = reserved(48)


class EnclaveMeasurement:
    """MRENCLAVE while the enclave is being built. Made by `ecreate`."""

    __slots__ = ("_hash", "_write", "size")

    def __init__(self, size: int, write: Callable[[bytes], object] | None = None) -> None:
        self.size = size
        self._hash = hashlib.sha256()
        self._write = write

    @classmethod
    def ecreate(
        cls, ssa_frame_pages: int, size: int, *, write: Callable[[bytes], object] | None = None
    ) -> "EnclaveMeasurement":
        """After ECREATE: `size` in bytes. ValueError where ECREATE would be a general-protection fault.

        `write` is given all that is measured, in order: an SGXS stream (cloister.measure.sgxs).
        """
        if not SMALLEST <= size <= LARGEST or size & (size - 1):
            raise ValueError(f"an enclave of {size:#x} bytes: the size must be a power of two from {SMALLEST:#x}")
        if ssa_frame_pages < 1:
            raise ValueError(f"an SSA frame of {ssa_frame_pages} pages: there must be at least one")
        made = cls(size, write)
        made._measure(CreateBlock(name=b"ECREATE\0", ssa_frame_pages=ssa_frame_pages, size=size).serialize())
        return made

    def eadd(self, offset: int, flags: int) -> None:
        """EADD of the page at this offset from the base, with these SECINFO flags. Its content is not measured yet."""
        self._check(offset, PAGE)
        self._measure(AddBlock(name=b"EADD\0\0\0\0", offset=offset, flags=int(flags)).serialize())

    def eadd_range(self, offset: int, size: int, flags: int) -> None:
        """EADD of all pages from this offset on, none of them measured: heaps, which may have millions of pages."""
        if size % PAGE or size < 0:
            raise ValueError(f"{size:#x} bytes are no whole number of pages")
        if not size:
            return
        self._check(offset, PAGE)
        self._check(offset + size - PAGE, PAGE)
        for start in range(offset, offset + size, MANY * PAGE):
            end = min(start + MANY * PAGE, offset + size)
            self._measure(b"".join(ADD.pack(b"EADD", place, int(flags)) for place in range(start, end, PAGE)))

    def eextend(self, offset: int, chunk: bytes) -> None:
        """EEXTEND of 256 bytes at this offset from the base."""
        if len(chunk) != CHUNK:
            raise ValueError(f"EEXTEND measures {CHUNK} bytes, not {len(chunk)}")
        self._check(offset, CHUNK)
        self._measure(ExtendBlock(name=b"EEXTEND\0", offset=offset).serialize() + chunk)

    def add_page(self, offset: int, flags: int, content: bytes) -> None:
        """EADD of a page, then EEXTEND of all of it: 81 blocks."""
        if len(content) != PAGE:
            raise ValueError(f"a page has {PAGE} bytes, this one {len(content)}")
        self._check(offset, PAGE)
        chunks = (
            EXTEND.pack(b"EEXTEND", offset + place) + content[place : place + CHUNK] for place in range(0, PAGE, CHUNK)
        )
        self._measure(ADD.pack(b"EADD", offset, int(flags)) + b"".join(chunks))

    def digest(self) -> Digest:
        """MRENCLAVE if EINIT came now."""
        return Digest("sha256", self._hash.digest())

    def _measure(self, blocks: bytes) -> None:
        self._hash.update(blocks)
        if self._write is not None:
            self._write(blocks)

    def _check(self, offset: int, unit: int) -> None:
        if offset % unit or not 0 <= offset < self.size:
            raise ValueError(f"offset {offset:#x}: must be a multiple of {unit} in an enclave of {self.size:#x} bytes")
