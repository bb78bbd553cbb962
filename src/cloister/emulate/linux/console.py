"""The program's standard input and output: as they are, or sealed between the owner's terminal and the TEE.

A sealed line is two streams of records, each record AES-256-GCM:

    0   stream      u8    0 input, 1 output, 2 errors, 3 the end of the program
    1   zero        7 bytes
    8   sequence    u64   from 0 in each direction
    16  ciphertext, 16 bytes of tag

The header is authenticated with it; the nonce is the direction (4 bytes) and the sequence (8 bytes), so that a record
cannot be replayed, reordered or sent back. Dropping the last records shows as well: input ends with an empty record,
and the program's end is a record of its own. Lengths and times stay visible. A key is for one run of one program.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cloister._wire import Record, reserved, u8, u64
from cloister.errors import ParseError

from .checks import HostLied
from .messages import LARGEST_DATA

__all__ = [
    "LARGEST_INPUT",
    "Console",
    "Line",
    "PlainConsole",
    "PlainLine",
    "SealedConsole",
    "SealedLine",
    "Stream",
]

TAG: Final = 16
"""Bytes of a GCM tag."""


class Stream(IntEnum):
    """What a record carries. The first three are the program's descriptors."""

    INPUT = 0
    OUTPUT = 1
    ERRORS = 2
    END = 3


class SealedHeader(Record, size=16):
    """The part of a sealed record that everybody may read."""

    stream: int = u8()
    reserved_1: bytes = reserved(7)
    sequence: int = u64()


LARGEST_INPUT: Final = LARGEST_DATA - SealedHeader.SIZE - TAG
"""Most plaintext bytes in one record, in both directions."""


class Line(Protocol):
    """The program's end of the console, inside the TEE."""

    def wrap(self, stream: Stream, data: bytes) -> bytes:
        """Bytes for the host to carry out: at most LARGEST_INPUT of data."""

    def unwrap(self, record: bytes) -> bytes:
        """What the owner typed; empty at the end of input. HostLied if the host changed anything."""


class Console(Protocol):
    """The owner's end of the console, as the host sees it: bytes to carry in, bytes carried out."""

    def receive(self, size: int) -> bytes:
        """Wait for input: at most `size` bytes of it, wrapped for the TEE."""

    def send(self, record: bytes) -> None:
        """Take output. HostLied if it was changed on the way."""


class PlainLine:
    """The program's end of a console that the host reads along."""

    def wrap(self, stream: Stream, data: bytes) -> bytes:
        """The stream's number and the bytes as they are."""
        return bytes([stream]) + data

    def unwrap(self, record: bytes) -> bytes:
        """The bytes as they are."""
        return record


class PlainConsole:
    """The owner's end of a console that the host reads along.

    `read(size)` blocks and gives at most `size` bytes, none at the end. `write` takes output, `write_errors` what went
    to descriptor 2 (by default the same as output). `ended` is the program's status when it is over.
    """

    def __init__(
        self,
        read: Callable[[int], bytes],
        write: Callable[[bytes], object],
        write_errors: Callable[[bytes], object] | None = None,
    ) -> None:
        self._read = read
        self._sinks = {Stream.OUTPUT: write, Stream.ERRORS: write_errors or write}
        self.ended: int | None = None

    def receive(self, size: int) -> bytes:
        """Input as it was typed."""
        return self._read(min(size, LARGEST_INPUT))

    def send(self, record: bytes) -> None:
        """Output as it came."""
        self.deliver(record[0] if record else Stream.INPUT, record[1:])

    def deliver(self, stream: int, data: bytes) -> None:
        """Give plaintext of one stream to whom it belongs. HostLied if no program writes to that stream."""
        if stream == Stream.END:
            self.ended = int.from_bytes(data, "little")
        elif stream in self._sinks:
            self._sinks[Stream(stream)](data)
        else:
            raise HostLied("CONSOLE_WRITE", f"output for stream {stream}")


class Direction(IntEnum):
    """Which way a record travels: part of its nonce."""

    INWARD = 0
    OUTWARD = 1


class Half:
    """One direction of a sealed line, at either end: seals or opens records in their order."""

    __slots__ = ("_cipher", "_direction", "_sequence")

    def __init__(self, cipher: AESGCM, direction: Direction) -> None:
        self._cipher, self._direction, self._sequence = cipher, direction, 0

    def _nonce(self) -> bytes:
        """Direction and sequence: never twice under one key."""
        nonce = self._direction.to_bytes(4, "little") + self._sequence.to_bytes(8, "little")
        self._sequence += 1
        return nonce

    def seal(self, stream: Stream, data: bytes) -> bytes:
        """The next record. ValueError if the data does not fit into one."""
        if len(data) > LARGEST_INPUT:
            raise ValueError(f"{len(data)} bytes; a record holds {LARGEST_INPUT}")
        header = SealedHeader(stream=stream, sequence=self._sequence).serialize()
        return header + self._cipher.encrypt(self._nonce(), data, header)

    def open(self, record: bytes, call: str) -> tuple[int, bytes]:
        """Stream and plaintext of the next record. HostLied if it is another, or was changed."""
        head, sealed = record[: SealedHeader.SIZE], record[SealedHeader.SIZE :]
        try:
            header = SealedHeader.parse(head)
        except ParseError as error:
            raise HostLied(call, f"not a sealed console record ({error})") from error
        if header.sequence != self._sequence:
            raise HostLied(call, f"console record {header.sequence} where {self._sequence} is due")
        try:
            return header.stream, self._cipher.decrypt(self._nonce(), sealed, head)
        except InvalidTag as error:
            raise HostLied(call, f"console record {header.sequence} does not authenticate") from error


def _cipher(key: bytes) -> AESGCM:
    if len(key) != 32:
        raise ValueError(f"a console key has 32 bytes, not {len(key)}")
    return AESGCM(key)


class SealedLine:
    """The program's end of a sealed console. ValueError if the key is not 32 bytes."""

    def __init__(self, key: bytes) -> None:
        cipher = _cipher(key)
        self._inward, self._outward = Half(cipher, Direction.INWARD), Half(cipher, Direction.OUTWARD)

    def wrap(self, stream: Stream, data: bytes) -> bytes:
        """The next sealed record."""
        return self._outward.seal(stream, data)

    def unwrap(self, record: bytes) -> bytes:
        """What the owner typed. HostLied if the record is not the next one that the owner's terminal sealed."""
        stream, data = self._inward.open(record, "CONSOLE_READ")
        if stream != Stream.INPUT:
            raise HostLied("CONSOLE_READ", f"a record of stream {stream} as input")
        return data


class SealedConsole(PlainConsole):
    """The owner's end of a sealed console: the host carries ciphertext. ValueError if the key is not 32 bytes.

    Output is complete only when `ended` is not None: without the program's own last record, the host cut it short.
    """

    def __init__(
        self,
        key: bytes,
        read: Callable[[int], bytes],
        write: Callable[[bytes], object],
        write_errors: Callable[[bytes], object] | None = None,
    ) -> None:
        super().__init__(read, write, write_errors)
        cipher = _cipher(key)
        self._inward, self._outward = Half(cipher, Direction.INWARD), Half(cipher, Direction.OUTWARD)

    def receive(self, size: int) -> bytes:
        """Input, sealed."""
        return self._inward.seal(Stream.INPUT, super().receive(size))

    def send(self, record: bytes) -> None:
        """Output, opened. HostLied if it is not the next record that the program sealed."""
        if self.ended is not None:
            raise HostLied("CONSOLE_WRITE", "a record after the program's end")
        self.deliver(*self._outward.open(record, "CONSOLE_WRITE"))
