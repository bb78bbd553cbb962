"""The body of sealed data: chunks of 64 KiB under AES-256-GCM (NIST SP 800-38D), each with its tag of 16 bytes.

The nonce of a chunk is its number (8 bytes, big-endian), three zero bytes, and 1 for the last chunk, else 0: the STREAM
construction (Hoang, Reyhanitabar, Rogaway, Vizár: Online Authenticated-Encryption, CRYPTO 2015). A chunk that is moved,
dropped, repeated or cut off fails, and so does one that is taken for the last. There is no length to lie about: all
chunks but the last are full, and memory is two chunks, however long the body. A key is used for one body only.
"""

import contextlib
from collections.abc import Generator
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cloister.errors import ParseError, UsageError
from cloister.seal.refusal import SealBroken
from cloister.seal.wiping import wiped

__all__ = ["CHUNK", "GCM_TAG", "Sink", "Source", "decrypt", "encrypt", "fill", "sealed_size"]

CHUNK: Final = 65_536
GCM_TAG: Final = 16
MOST_CHUNKS: Final = 1 << 32
"""256 TiB. Within the bounds of SP 800-38D, section 8.3, for one key."""
RECORD: Final = "SealedBody"


class Source(Protocol):
    """Where bytes come from: a binary file, or memory."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Put some bytes into `buffer`; 0 at the end."""


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: memoryview, /) -> int | None:
        """Take some of these bytes, and say how many; None for all."""


def encrypt(key: bytearray, source: Source, sink: Sink) -> int:
    """Seal all that `source` has; the number of plaintext bytes. Its buffers are wiped. UsageError if too long."""
    cipher, out, total = AESGCM(key), bytearray(CHUNK + GCM_TAG), 0
    with contextlib.closing(_pieces(source, CHUNK)) as pieces:
        for number, data, last in pieces:
            if number >= MOST_CHUNKS:
                raise UsageError("more than 256 TiB cannot be sealed in one piece")
            size = cipher.encrypt_into(nonce(number, last=last), data, None, memoryview(out)[: len(data) + GCM_TAG])
            _write(sink, memoryview(out)[:size])
            total += len(data)
    return total


def decrypt(key: bytearray, source: Source, sink: Sink | None) -> int:
    """Open all chunks; the number of plaintext bytes. None as `sink` only checks them. ParseError, SealBroken.

    Each chunk is authentic when it is written, but only the return says that none is missing at the end.
    """
    cipher, out, total = AESGCM(key), bytearray(CHUNK), 0
    with wiped(out):
        for number, data, last in _pieces(source, CHUNK + GCM_TAG):
            size = len(data) - GCM_TAG
            if size < 0 or (not size and number) or number >= MOST_CHUNKS:
                raise ParseError(
                    RECORD, f"chunk {number}", number * (CHUNK + GCM_TAG), f"{len(data)} bytes are no chunk"
                )
            try:
                cipher.decrypt_into(nonce(number, last=last), data, None, memoryview(out)[:size])
            except InvalidTag:
                raise SealBroken(
                    f"chunk {number} of the sealed data is not authentic: it was changed, moved, cut or put there from "
                    "elsewhere since it was sealed; restore the file from a copy"
                ) from None
            if sink is not None:
                _write(sink, memoryview(out)[:size])
            total += size
    return total


def sealed_size(plain: int) -> int:
    """How many bytes the body of `plain` bytes has."""
    return plain + GCM_TAG * max(1, -(-plain // CHUNK))


def nonce(number: int, *, last: bool) -> bytes:
    """12 bytes."""
    return number.to_bytes(8) + bytes(3) + (b"\1" if last else b"\0")


def fill(source: Source, buffer: memoryview) -> int:
    """Read until `buffer` is full or `source` ends; how many bytes there are."""
    got = 0
    while got < len(buffer) and (count := source.readinto(buffer[got:])):
        got += count
    return got


def _pieces(source: Source, size: int) -> Generator[tuple[int, memoryview, bool]]:
    """Number, bytes and whether it is the last, of each piece of `size` bytes. At least one, perhaps empty."""
    here, ahead = bytearray(size), bytearray(size)
    with wiped(here, ahead):
        have, number = fill(source, memoryview(here)), 0
        while True:
            more = fill(source, memoryview(ahead)) if have == size else 0
            yield number, memoryview(here)[:have], not more
            if not more:
                return
            here, ahead, have, number = ahead, here, more, number + 1


def _write(sink: Sink, data: memoryview) -> None:
    while data:
        count = sink.write(data)
        data = data[len(data) if count is None else count :]
