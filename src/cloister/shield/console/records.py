"""Records of the console, as runtime/shield/console_record.c writes and reads them (docs/formats/console.md).

    u64 number, u8 kind, ciphertext, 16 bytes tag            ChaCha20-Poly1305; number and kind are the additional data

A direction has a key of its own, and a number is used once under it: it is the nonce. Input is numbered by its
bytes, so that a reader may stop in the middle of a record; output by its records, because many processes write.
"""

import hmac
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from cloister.errors import VerificationError

__all__ = ["ConsoleBroken", "InputKind", "InputRecords", "OutputKind", "OutputRecords", "Piece", "Record", "derived"]

HEAD: Final = struct.Struct("<QB")
TAG: Final = 16
LARGEST: Final = 1 << 16
"""Bytes of a record, all in all."""
MOST_TEXT: Final = LARGEST - HEAD.size - TAG
MOST_WAITING: Final = 4096
"""Records that are kept while an earlier one is missing."""
END: Final = struct.Struct("<IQ")
"""What EXIT and END say: the status as wait(2) has it, and how many records of output were numbered."""


class ConsoleBroken(VerificationError):
    """What came is not what the program wrote: changed, replayed, reordered or cut off on the way."""


class InputKind(IntEnum):
    """What a record from the person is."""

    BYTES = 1
    LINE = 2
    """Bytes, the last of which completes a line: a reader in canonical mode gets no more at once."""
    END = 3
    """One byte that stands for the end of the input; on a terminal, for ^D."""


class OutputKind(IntEnum):
    """What a record from the program's side is."""

    STDOUT = 1
    STDERR = 2
    MODE = 3
    """The program set its terminal's modes: u32 when, then struct termios as the kernel has it."""
    ALERT = 4
    """The runtime refused input: words for the person."""
    HELLO = 5
    """The first of all: the key under which the guard says how the program ended."""
    EXIT = 6
    """From the guard: the program's first process has ended."""
    END = 7
    """From the guard: all of its processes have."""
    LOST = 8
    """From the guard: a writer has ended, and the record of its last number may never come. Its own is that and 8."""


GUARDS: Final = frozenset({OutputKind.EXIT, OutputKind.END, OutputKind.LOST})


def derived(key: bytes, what: str) -> bytes:
    """HKDF-Expand (RFC 5869, section 2.3) of one block: the key is random, so nothing is extracted."""
    return hmac.digest(key, b"cloister console 1 " + what.encode() + b"\1", "sha256")


def _nonce(number: int) -> bytes:
    return bytes(4) + number.to_bytes(8, "little")


class Record:
    """One direction's records: sealed, and opened. `what` names the direction."""

    def __init__(self, key: bytes, what: str) -> None:
        self._cipher = ChaCha20Poly1305(derived(key, what) if what else key)

    def seal(self, number: int, kind: int, text: bytes) -> bytes:
        """A record."""
        head = HEAD.pack(number, kind)
        return head + self._cipher.encrypt(_nonce(number), text, head)

    def open(self, record: bytes) -> tuple[int, int, bytes]:
        """Number, kind and text. ConsoleBroken."""
        if not HEAD.size + TAG <= len(record) <= LARGEST:
            raise ConsoleBroken(f"a record of {len(record)} bytes came: it is no record of the console")
        number, kind = HEAD.unpack_from(record)
        try:
            text = self._cipher.decrypt(_nonce(number), record[HEAD.size :], record[: HEAD.size])
        except InvalidTag:
            raise ConsoleBroken("a record was changed on the way, or is of another console") from None
        return number, kind, text


class InputRecords:
    """Seals what the person types. On a terminal every byte is a record, because a reader may want no more."""

    def __init__(self, key: bytes, *, terminal: bool) -> None:
        self._record, self._at = Record(key, "input"), 0
        self._piece = 1 if terminal else MOST_TEXT

    def records(self, data: bytes, kind: InputKind = InputKind.BYTES) -> Iterator[bytes]:
        """The records of these bytes; the last one is of this kind."""
        for at in range(0, len(data), self._piece):
            piece = data[at : at + self._piece]
            last = at + self._piece >= len(data)
            yield self._sealed(piece, kind if last else InputKind.BYTES)

    def end(self) -> bytes:
        """The record that says that no more comes; or, on a terminal, that ^D was typed."""
        return self._sealed(b"\0", InputKind.END)

    def _sealed(self, text: bytes, kind: InputKind) -> bytes:
        record = self._record.seal(self._at, kind, text)
        self._at += len(text)
        return record


@dataclass(frozen=True, slots=True)
class Piece:
    """What one record says. `status` and `count` are those of EXIT and END."""

    kind: OutputKind
    data: bytes = field(default=b"", repr=False)
    status: int = 0
    count: int = 0


class OutputRecords:
    """Opens what the program's processes wrote, and puts it into the order in which they wrote it."""

    def __init__(self, key: bytes) -> None:
        self._record = Record(key, "output")
        self._end: Record | None = None
        self._next = 0
        self._waiting: dict[int, Piece] = {}
        self._endings: list[Piece] = []
        self._lost: set[int] = set()
        self._ended: set[OutputKind] = set()
        self.missing = 0
        """How many records were given up."""

    @property
    def begun(self) -> bool:
        """Whether the program's side has said hello."""
        return self._end is not None

    @property
    def waits(self) -> bool:
        """Whether something is here that must wait for an earlier record."""
        return bool(self._waiting or self._endings)

    def take(self, record: bytes) -> list[Piece]:
        """What can be said now that this record is here, in order. ConsoleBroken."""
        if len(record) >= HEAD.size and HEAD.unpack_from(record)[1] in GUARDS:
            self._take_guards(record)
            return self._ready()
        number, kind, text = self._record.open(record)
        if kind not in tuple(OutputKind) or (kind == OutputKind.HELLO) != (number == 0):
            raise ConsoleBroken("a record of output is of no known kind, or does not stand where it belongs")
        if number < self._next or number in self._waiting:
            raise ConsoleBroken("a record of output came a second time: it was replayed")
        if len(self._waiting) >= MOST_WAITING:
            raise ConsoleBroken("a record of output was withheld, while thousands that follow it came")
        self._waiting[number] = Piece(OutputKind(kind), text)
        return self._ready()

    def give_up(self) -> list[Piece]:
        """Go on without what is missing before the next record that is here; it is counted in `missing`."""
        at = min([*self._waiting, *(one.count for one in self._endings)], default=self._next)
        self.missing += max(at - self._next, 0)
        self._next = max(at, self._next)
        return self._ready()

    def _take_guards(self, record: bytes) -> None:
        if self._end is None:
            raise ConsoleBroken("the program's end was announced before its beginning")
        number, kind, text = self._end.open(record)
        if kind == OutputKind.LOST:
            if number - OutputKind.LOST >= self._next:
                self._lost.add(number - OutputKind.LOST)
            return
        if OutputKind(kind) in self._ended or len(text) != END.size:
            raise ConsoleBroken("the program's end was announced twice")
        self._ended.add(OutputKind(kind))
        status, count = END.unpack(text)
        self._endings.append(Piece(OutputKind(kind), status=status, count=count))

    def _ready(self) -> list[Piece]:
        found: list[Piece] = []
        while self._next in self._waiting or self._next in self._lost:
            self._lost.discard(self._next)
            piece = self._waiting.pop(self._next, None)
            self._next += 1
            if piece is None:
                continue
            if piece.kind is OutputKind.HELLO:
                self._end = Record(piece.data, "")
            found.append(piece)
        over = [one for one in self._endings if one.count <= self._next]
        self._endings = [one for one in self._endings if one.count > self._next]
        return found + over
