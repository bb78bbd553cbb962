"""SGXS: an enclave as the stream of all that is measured of it, so that its SHA-256 is MRENCLAVE.

Fortanix, rust-sgx, doc/SGXS.md. Records are the 64-byte blocks of ECREATE, EADD and EEXTEND; 256 bytes of data follow
an EEXTEND. The enhanced form has UNMEASRD beside EEXTEND, for data that is loaded and not measured, and UNSIZED in the
place of ECREATE, for an enclave whose size is not decided: that one has no measurement and is refused.

A stream is canonical if pages ascend and all chunks of a page stand behind it, each once: then an enclave is described
in one way only. Gramine's own order is another one: `canonical=False` takes every order that a processor takes.
"""

from dataclasses import dataclass
from typing import Final

from cloister._wire import Record, raw, reserved, u64
from cloister.errors import ParseError
from cloister.measure.sgx import CHUNK, AddBlock, CreateBlock, EnclaveMeasurement, ExtendBlock, SecinfoFlags
from cloister.model import Digest

__all__ = ["LARGEST", "SgxsStream", "looks_like", "parse_sgxs"]

PAGE: Final = 4096
BLOCK: Final = 64
LARGEST: Final = 4 << 30
"""Bytes of a stream: more than an enclave of 2 GiB whose every page is measured."""

RECORD: Final = "SGXS"
ECREATE, EADD, EEXTEND = b"ECREATE\0", b"EADD\0\0\0\0", b"EEXTEND\0"
UNSIZED, UNMEASURED = b"UNSIZED\0", b"UNMEASRD"
TYPES: Final = frozenset({int(SecinfoFlags.TCS), int(SecinfoFlags.REG)})
PERMISSIONS: Final = int(SecinfoFlags.READ | SecinfoFlags.WRITE | SecinfoFlags.EXECUTE)


class _UnmeasuredBlock(Record, size=BLOCK):
    name: bytes = raw(8, equals=UNMEASURED)
    offset: int = u64()
    reserved_16: bytes = reserved(48)


@dataclass(frozen=True, kw_only=True)
class SgxsStream:
    """What a stream describes. `unmeasured` counts chunks of 256 bytes that are loaded and not measured."""

    size: int
    ssa_frame_pages: int
    pages: int
    threads: int
    chunks: int
    unmeasured: int
    canonical: bool
    mrenclave: Digest


@dataclass
class _Reading:
    """A stream while it is read. `done` has a bit for every chunk of a page that was given a content."""

    data: memoryview
    canonical: bool
    running: EnclaveMeasurement
    done: dict[int, int]
    last: int = -1
    threads: int = 0
    chunks: int = 0
    unmeasured: int = 0


def looks_like(data: bytes) -> bool:
    """Whether this begins as a stream does."""
    return data[:8] in {ECREATE, UNSIZED}


def parse_sgxs(data: bytes, *, canonical: bool = True) -> SgxsStream:
    """Read and measure a stream. ParseError if it is none, or is not canonical and must be."""
    create = _created(data)
    reading = _Reading(
        data=memoryview(data), canonical=True, done={},
        running=EnclaveMeasurement.ecreate(create.ssa_frame_pages, create.size),
    )  # fmt: skip
    at = BLOCK
    while at < len(data):
        at = _record(reading, at)
        if canonical and not reading.canonical:
            raise ParseError(
                RECORD, "order", at, "before this: pages do not ascend, or a chunk does not stand behind its page"
            )
    return SgxsStream(
        size=create.size, ssa_frame_pages=create.ssa_frame_pages, pages=len(reading.done), threads=reading.threads,
        chunks=reading.chunks, unmeasured=reading.unmeasured, canonical=reading.canonical,
        mrenclave=reading.running.digest(),
    )  # fmt: skip


def _created(data: bytes) -> CreateBlock:
    if len(data) > LARGEST:
        raise ParseError(RECORD, "length", 0, f"{len(data)} bytes; at most {LARGEST}")
    if data[:8] == UNSIZED:
        raise ParseError(RECORD, "UNSIZED", 0, "the enclave's size is not decided, so it has no MRENCLAVE: finish it")
    create = CreateBlock.parse(data[:BLOCK])
    try:
        EnclaveMeasurement.ecreate(create.ssa_frame_pages, create.size)
    except ValueError as error:
        raise ParseError(RECORD, "ECREATE", 8, str(error)) from error
    return create


def _record(reading: _Reading, at: int) -> int:
    """Read the record that begins there; where the next one does."""
    block = bytes(reading.data[at : at + BLOCK])
    tag = block[:8]
    if tag == EADD:
        _page(reading, AddBlock.parse(block, base=at), at)
        return at + BLOCK
    if tag == EEXTEND:
        offset = ExtendBlock.parse(block, base=at).offset
        reading.running.eextend(offset, _chunk(reading, offset, at))
        reading.chunks += 1
    elif tag == UNMEASURED:
        _chunk(reading, _UnmeasuredBlock.parse(block, base=at).offset, at)
        reading.unmeasured += 1
    else:
        raise ParseError(RECORD, "tag", at, f"{tag!r}: not EADD, EEXTEND or UNMEASRD; ECREATE stands first only")
    return at + BLOCK + CHUNK


def _page(reading: _Reading, block: AddBlock, at: int) -> None:
    kind, permissions = block.flags & ~PERMISSIONS, block.flags & PERMISSIONS
    if kind not in TYPES or (kind == SecinfoFlags.TCS and permissions):
        raise ParseError(
            RECORD, "EADD flags", at + 16, f"{block.flags:#x}: no TCS (0x100) or REG (0x200) page that EADD takes"
        )
    if permissions & SecinfoFlags.WRITE and not permissions & SecinfoFlags.READ:
        raise ParseError(RECORD, "EADD flags", at + 16, f"{block.flags:#x}: a page may be written and not read")
    if block.offset in reading.done:
        raise ParseError(RECORD, "EADD offset", at + 8, f"{block.offset:#x}: this page was added before")
    try:
        reading.running.eadd(block.offset, block.flags)
    except ValueError as error:
        raise ParseError(RECORD, "EADD offset", at + 8, str(error)) from error
    reading.canonical = reading.canonical and block.offset > reading.last
    reading.done[block.offset] = 0
    reading.last = block.offset
    reading.threads += kind == SecinfoFlags.TCS


def _chunk(reading: _Reading, offset: int, at: int) -> bytes:
    """The data of a chunk, after its place was checked."""
    page, place = offset // PAGE * PAGE, offset % PAGE // CHUNK
    if offset % CHUNK or page not in reading.done:
        raise ParseError(RECORD, "chunk offset", at + 8, f"{offset:#x}: in no page that was added, or between chunks")
    if reading.done[page] >> place & 1:
        raise ParseError(RECORD, "chunk offset", at + 8, f"{offset:#x}: this chunk stands twice")
    data = bytes(reading.data[at + BLOCK : at + BLOCK + CHUNK])
    if len(data) != CHUNK:
        raise ParseError(RECORD, "chunk", at + BLOCK, f"{len(data)} bytes of {CHUNK} are there")
    reading.canonical = reading.canonical and page == reading.last
    reading.done[page] |= 1 << place
    return data
