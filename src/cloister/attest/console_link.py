"""Between a person (`cloister attach`) and the relay beside the program: frames (docs/formats/console.md).

    CALL       ▶  which nonce the evidence shall answer, and whether the person has a terminal
    EVIDENCE   ◀  the enclave's key, and evidence that is bound to both
    SEALED     ▶  the start block for that key, in which the console's key is
    INPUT      ▶  records, for the program      TAKEN   ◀  so many bytes of them are with the program's kernel
    OUTPUT     ◀  a record, from the program    NOTE    ◀  text that nobody vouches for
    SIGNAL     ▶  for the foreground            SIZE    ▶  of the window
    REFUSED    ◀▶ why there is nothing

A frame is u32 kind, u32 size, then so many bytes; little-endian. Nothing here is secret, and nothing is believed:
records are sealed.
"""

import base64
import binascii
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from cloister.errors import ParseError
from cloister.launch import _abi

__all__ = ["Call", "Frames", "LinkFrame", "LinkKind", "packed", "size_of"]

VERSION: Final = 1
RECORD: Final = "frame of the console"
HEAD: Final = struct.Struct("<II")
CALL: Final = struct.Struct("<IIHH")
SIZE: Final = struct.Struct("<HH")
TERMINAL: Final = 1
NONCE: Final = 32


class LinkKind(IntEnum):
    """What a frame is."""

    CALL = 1
    EVIDENCE = 2
    SEALED = 3
    REFUSED = 4
    INPUT = 5
    SIGNAL = 6
    SIZE = 7
    TAKEN = 8
    OUTPUT = 9
    NOTE = 10


RECORDS: Final = 1 << 16
MOST: Final = {
    LinkKind.CALL: 256, LinkKind.EVIDENCE: 1 << 20, LinkKind.SEALED: _abi.FRAME_MAX_BYTES, LinkKind.REFUSED: 4096,
    LinkKind.INPUT: RECORDS, LinkKind.SIGNAL: 4, LinkKind.SIZE: SIZE.size, LinkKind.TAKEN: 4, LinkKind.OUTPUT: RECORDS,
    LinkKind.NOTE: 4096,
}  # fmt: skip
"""Bytes of a body."""


@dataclass(frozen=True, slots=True)
class LinkFrame:
    """One frame."""

    kind: LinkKind
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What the person asks for first."""

    nonce: bytes
    terminal: bool
    rows: int = 0
    columns: int = 0

    @property
    def question(self) -> str:
        """The nonce as the runtime gets it."""
        return base64.b64encode(self.nonce).decode()

    def serialize(self) -> bytes:
        """The body of CALL."""
        flags = TERMINAL if self.terminal else 0
        return CALL.pack(VERSION, flags, self.rows, self.columns) + self.question.encode()

    @classmethod
    def parse(cls, body: bytes) -> "Call":
        """Read it. ParseError."""
        if len(body) < CALL.size:
            raise ParseError(RECORD, "CALL", 0, f"has {len(body)} bytes")
        version, flags, rows, columns = CALL.unpack_from(body)
        if version != VERSION or flags & ~TERMINAL:
            raise ParseError(RECORD, "version", 0, f"{version} with flags {flags:#x}; this relay speaks {VERSION}")
        try:
            nonce = base64.b64decode(body[CALL.size :], validate=True)
        except binascii.Error:
            nonce = b""
        if len(nonce) != NONCE:
            raise ParseError(RECORD, "nonce", CALL.size, f"is not {NONCE} bytes in base64")
        return cls(nonce=nonce, terminal=bool(flags), rows=rows, columns=columns)


def packed(kind: LinkKind, body: bytes) -> bytes:
    """A frame as it is sent. ParseError for a body that is too long for its kind."""
    if len(body) > MOST[kind]:
        raise ParseError(RECORD, "size", 4, f"{len(body)} bytes are more than {kind.name} may have")
    return HEAD.pack(kind, len(body)) + body


def size_of(body: bytes) -> tuple[int, int]:
    """Rows and columns in SIZE. ParseError."""
    if len(body) != SIZE.size:
        raise ParseError(RECORD, "SIZE", 0, f"has {len(body)} bytes")
    rows, columns = SIZE.unpack(body)
    return rows, columns


class Frames:
    """Takes bytes as they come, gives whole frames."""

    def __init__(self) -> None:
        self._held = bytearray()

    @property
    def is_between(self) -> bool:
        """Whether no frame is begun."""
        return not self._held

    def feed(self, data: bytes) -> list[LinkFrame]:
        """The frames that are complete now. ParseError for an unknown kind or a size that it cannot have."""
        self._held += data
        found, at = [], 0
        while len(self._held) - at >= HEAD.size:
            number, size = HEAD.unpack_from(self._held, at)
            kind, end = _kind(number, size), at + HEAD.size + size
            if len(self._held) < end:
                break
            found.append(LinkFrame(kind, bytes(self._held[at + HEAD.size : end])))
            at = end
        del self._held[:at]
        return found


def _kind(number: int, size: int) -> LinkKind:
    try:
        kind = LinkKind(number)
    except ValueError:
        raise ParseError(RECORD, "kind", 0, f"{number} is not known") from None
    if size > MOST[kind]:
        raise ParseError(RECORD, "size", 4, f"{size} bytes are more than {kind.name} may have")
    return kind
