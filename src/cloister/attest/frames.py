"""The conversation between runtime and carrier, byte by byte (runtime/include/cloister_abi.h, runtime/src/provision.h).

A frame is u32 kind, u32 size, then so many bytes; little-endian. Everything is read with one deadline for the whole
frame, and nothing is read or kept of a frame that is longer than its kind may be.
"""

import base64
import hashlib
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from cloister.errors import ParseError
from cloister.launch import _abi

__all__ = ["Frame", "Hangup", "Hello", "Kind", "Statement", "receive", "refusal", "report_data_of", "send"]

RECORD: Final = "frame"
HEAD: Final = struct.Struct("<II")
DIGEST: Final = 32
REPORT_DATA: Final = 64
LONGEST_NONCE: Final = 128
"""Characters of base64: a challenge has 32 to 64 bytes."""
LEAST_ROOT: Final = 4 + 8 + 32 + 32
LONGEST_ROOT_NAME: Final = 2048
LONGEST_REFUSAL: Final = 1000
"""Bytes of text for a person."""


class Kind(IntEnum):
    """What a frame is."""

    HELLO = _abi.FRAME_HELLO
    MANIFEST = _abi.FRAME_MANIFEST
    STATEMENT = _abi.FRAME_STATEMENT
    NONCE = _abi.FRAME_NONCE
    QUOTE = _abi.FRAME_QUOTE
    SEALED = _abi.FRAME_SEALED
    REFUSED = _abi.FRAME_REFUSED
    REFRESH = _abi.FRAME_REFRESH
    EVIDENCE_WANTED = _abi.FRAME_EVIDENCE_WANTED
    EVIDENCE = _abi.FRAME_EVIDENCE
    ROOT = _abi.FRAME_ROOT
    ROOTED = _abi.FRAME_ROOTED


SIZES: Final[Mapping[Kind, range]] = {
    Kind.HELLO: range(8, 9), Kind.STATEMENT: range(96, 97), Kind.QUOTE: range(64, 65), Kind.REFRESH: range(96, 97),
    Kind.EVIDENCE_WANTED: range(64, 65), Kind.NONCE: range(1, LONGEST_NONCE + 1), Kind.REFUSED: range(4, 4097),
    Kind.ROOT: range(LEAST_ROOT + 1, LEAST_ROOT + LONGEST_ROOT_NAME + 1), Kind.ROOTED: range(32, 33),
}  # fmt: skip
"""Bytes that a frame of a kind may have, where the format says so."""
ANY_SIZE: Final = range(_abi.FRAME_MAX_BYTES + 1)


class Hangup(Exception):
    """The other side closed the connection between two frames."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame."""

    kind: Kind
    body: bytes


@dataclass(frozen=True, slots=True)
class Hello:
    """The runtime's greeting: its version of the contract, and whether it started guards."""

    version: int
    guarded: bool

    @classmethod
    def parse(cls, body: bytes) -> "Hello":
        """Read it; ParseError for another version or unknown flags."""
        version, flags = HEAD.unpack(body)
        if version != _abi.ABI_VERSION:
            raise ParseError("HELLO", "version", 0, f"is {version}; this carrier speaks {_abi.ABI_VERSION}")
        if flags & ~_abi.HELLO_GUARDED:
            raise ParseError("HELLO", "flags", 4, f"{flags:#x} are not all known")
        return cls(version, bool(flags & _abi.HELLO_GUARDED))


@dataclass(frozen=True, slots=True)
class Statement:
    """What the runtime measured, and its key: SHA-256 of the program, digest of the manifest, X25519 public key."""

    executable: bytes
    libraries: bytes
    key: bytes

    @classmethod
    def parse(cls, body: bytes) -> "Statement":
        """Read it."""
        return cls(body[:DIGEST], body[DIGEST : 2 * DIGEST], body[2 * DIGEST :])

    @property
    def measured(self) -> tuple[bytes, bytes]:
        """What names the program: all but the key."""
        return self.executable, self.libraries

    @property
    def jwk(self) -> dict[str, str]:
        """The key as the broker gets it."""
        return {"alg": "HPKE-4", "crv": "X25519", "kty": "OKP", "x": _base64url(self.key)}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def report_data_of(nonce: str, statement: Statement) -> bytes:
    """What the runtime must answer to a nonce: SHA-384 of the runtime data, zeros behind it."""
    key = _base64url(statement.key)
    data = _abi.RUNTIME_DATA_BEFORE_NONCE + nonce + _abi.RUNTIME_DATA_BEFORE_KEY + key + _abi.RUNTIME_DATA_END
    return hashlib.sha384(data.encode()).digest().ljust(REPORT_DATA, b"\0")


def receive(sock: socket.socket, seconds: float, *wanted: Kind) -> Frame:
    """The next frame, complete within so many seconds.

    Raises `Hangup` if the connection ends before it, ParseError for what is no frame or none of the `wanted` kinds,
    OSError (TimeoutError) if the connection breaks or the time is over.
    """
    end = time.monotonic() + seconds
    head = _exactly(sock, HEAD.size, end, between=True)
    number, size = HEAD.unpack(head)
    try:
        kind = Kind(number)
    except ValueError:
        raise ParseError(RECORD, "kind", 0, f"{number} is not known") from None
    if wanted and kind not in wanted:
        expected = " or ".join(one.name for one in wanted)
        raise ParseError(RECORD, "kind", 0, f"is {kind.name}, out of order: {expected} was expected")
    if size not in SIZES.get(kind, ANY_SIZE):
        raise ParseError(RECORD, "size", 4, f"{size} bytes are not what {kind.name} has")
    return Frame(kind, _exactly(sock, size, end))


def _exactly(sock: socket.socket, size: int, end: float, *, between: bool = False) -> bytes:
    found = bytearray()
    while len(found) < size:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the other side is too slow")
        sock.settimeout(left)
        data = sock.recv(min(size - len(found), 1 << 16))
        if not data:
            if between and not found:
                raise Hangup
            raise ParseError(RECORD, "size", 4, f"the connection ended after {len(found)} of {size} bytes")
        found += data
    return bytes(found)


def send(sock: socket.socket, kind: Kind, body: bytes, seconds: float) -> None:
    """Send a frame within so many seconds. OSError if that fails."""
    if len(body) not in SIZES.get(kind, ANY_SIZE):
        raise ParseError(RECORD, "size", 4, f"{len(body)} bytes are not what {kind.name} has")
    sock.settimeout(seconds)
    sock.sendall(HEAD.pack(kind, len(body)) + body)


def refusal(text: str, code: int) -> bytes:
    """The body of REFUSED: one printable line, and the exit code of the exception that it was (docs/exit-codes.md)."""
    line = "".join(character if character.isprintable() else " " for character in text)
    return code.to_bytes(4, "little") + line.encode()[:LONGEST_REFUSAL].decode(errors="ignore").encode()
